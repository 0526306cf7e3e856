// The playground's modules where they need no torch: random numbers, Adam, gradients against finite
// differences, grids that refuse, the trainer and the worker's loop.

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  COARSEST,
  elboOnGrid,
  finish,
  kSampleBound,
  latentGrid,
  logAggregate,
  logMarginals,
  onGrid,
} from "../../companion/live/bounds.js";
import { klNormal } from "../../companion/live/gaussian.js";
import { Adam, Network, countWeights, mlp } from "../../companion/live/nn.js";
import { mean } from "../../companion/live/numbers.js";
import { DATA_NAMES, dataSet, drawnSet } from "../../companion/live/playground/data.js";
import { Model } from "../../companion/live/playground/models.js";
import { Trainer, serve } from "../../companion/live/playground/training.js";
import { generator, normal } from "../../companion/live/random.js";

/** @param {number} value @param {number} wanted @param {number} [within] */
const near = (value, wanted, within = 1e-9) =>
  assert.ok(Math.abs(value - wanted) <= within, `${value} is not ${wanted}`);

/** @param {() => number} draw @param {number} count */
const many = (draw, count) => Float64Array.from({ length: count }, draw);

test("random numbers: the same for a seed, uniform and normal", () => {
  assert.deepEqual(many(generator(3), 5), many(generator(3), 5));
  assert.notDeepEqual(many(generator(3), 5), many(generator(4), 5));
  const uniform = many(generator(0), 20000);
  assert.ok(uniform.every((u) => u >= 0 && u < 1));
  near(mean(uniform), 0.5, 0.01);
  near(mean(uniform.map((u) => (u - 0.5) ** 2)), 1 / 12, 0.002);
  const gauss = many(normal(generator(0)), 20000);
  near(mean(gauss), 0, 0.03);
  near(mean(gauss.map((z) => z * z)), 1, 0.04);
  near(mean(gauss.map((z) => z ** 4)), 3, 0.25);
  near(mean(gauss.map((z, i) => z * (gauss[i + 1] ?? 0))), 0, 0.03);
});

test("Adam takes torch's steps", () => {
  // torch.optim.Adam([1, −2], lr=0.1) with the gradients (1, −4), (0.5, 2), (0, 1e-9).
  const parameters = Float64Array.of(1, -2);
  const adam = new Adam(2);
  const steps = [
    [1, -4],
    [0.5, 2],
    [0, 1e-9],
  ];
  for (const gradient of steps) adam.step(parameters, Float64Array.from(gradient), 0.1);
  near(parameters[0] ?? 0, 0.7347242831600768, 1e-12);
  near(parameters[1] ?? 0, -1.8527783661037343, 1e-12);
});

test("a network's gradients are its slopes, whatever the sizes", () => {
  const draw = normal(generator(1));
  for (const sizes of [
    [2, 3],
    [1, 5, 2],
    [3, 4, 7, 1],
  ]) {
    const [inputs = 0, outputs = 0] = [sizes[0], sizes.at(-1)];
    for (const rows of [1, 2, 5]) {
      const parameters = many(draw, countWeights(sizes));
      const gradients = new Float64Array(parameters.length);
      const network = new Network(sizes, parameters, gradients);
      const x = many(draw, rows * inputs);
      const weights = many(draw, rows * outputs);
      const outcome = () => network.forward(x, rows).subarray(0, weights.length);
      const value = () => outcome().reduce((sum, y, i) => sum + y * (weights[i] ?? 0), 0);
      value();
      const ofInput = network.backward(weights).slice(0, x.length);
      const ofWeights = gradients.slice();
      for (const [array, found] of /** @type {const} */ ([
        [x, ofInput],
        [parameters, ofWeights],
      ])) {
        array.forEach((kept, i) => {
          array[i] = kept + 1e-5;
          const above = value();
          array[i] = kept - 1e-5;
          const below = value();
          array[i] = kept;
          near(found[i] ?? NaN, (above - below) / 2e-5, 1e-7);
        });
      }
      // A network that is only evaluated sees the same weights.
      const y = mlp(network.layers)(x);
      outcome().forEach((own, i) => near(y[i] ?? NaN, own, 1e-12));
    }
  }
  const exported = { weight: Float32Array.of(1, -2), bias: Float32Array.of(0.5), in: 2, out: 1 };
  assert.deepEqual([...mlp([exported])([3, 1, 0, 0])], [1.5, 0.5]);
  assert.equal(mlp([exported])(new Float64Array(2 * 200).fill(1)).at(-1), -0.5);
});

test("a model's gradients are its slopes", () => {
  for (const encoder of /** @type {const} */ (["bottom-up", "top-down"])) {
    for (const bound of /** @type {const} */ (["elbo", "iwae"])) {
      const widths = { levels: 3, units: 2, hidden: 3 };
      const model = new Model({ ...widths, encoder, sigma: 0.5, learnSigma: true, seed: 5 });
      const draw = normal(generator(2));
      model.reserve(4, 3);
      model.draw(draw);
      const x = many(draw, 8);
      const rates = /** @type {const} */ ("sampled");
      const objective = { bound, rates, betas: [1, 0.5, 2], freeNats: 0 };
      model.loss(x, objective);
      const found = model.gradients.slice();
      for (let i = 0; i < found.length; i++) {
        const kept = model.parameters[i] ?? 0;
        model.parameters[i] = kept + 1e-5;
        const above = model.loss(x, objective);
        model.parameters[i] = kept - 1e-5;
        near(found[i] ?? NaN, (above - model.loss(x, objective)) / 2e-5, 1e-6);
        model.parameters[i] = kept;
      }
    }
  }
});

test("data sets are standardised as the package's, drawn points stay where they are", () => {
  for (const name of DATA_NAMES) {
    const points = dataSet(name, 500, { seed: 2 });
    assert.equal(points.length, 1000);
    assert.ok(points.every(Number.isFinite));
    assert.deepEqual(points, dataSet(name, 500, { seed: 2 }));
    assert.notDeepEqual(points, dataSet(name, 500, { seed: 3 }));
    if (name === "tree" || name === "arch") continue;
    for (const j of [0, 1]) {
      const axis = points.filter((_, i) => i % 2 === j);
      near(mean(axis), 0);
      near(mean(axis.map((v) => v * v)), 1);
    }
  }
  const drawn = drawnSet([1, 2, -3, 0.5], 300, { jitter: 0 });
  assert.deepEqual(new Set(drawn), new Set([1, 2, -3, 0.5]));
  assert.throws(() => drawnSet([], 10), /at least one/);
});

// x = a z + σ ε with d units: log p(x) is known.
/** @param {number} a @param {number} sigma @param {number} units */
const linear = (a, sigma, units) => ({
  decoders: [(/** @type {Float64Array} */ z) => z.map((v) => a * v)],
  logvar: 2 * Math.log(sigma),
  units,
});

/** @param {number[]} x @param {number} variance */
const logNormal = (x, variance) =>
  x.reduce((sum, v) => sum - 0.5 * ((v * v) / variance + Math.log(2 * Math.PI * variance)), 0);

test("log p(x) of a linear model, and where the grid is too coarse", () => {
  for (const [units, points] of /** @type {const} */ ([
    [1, 121],
    [2, 121],
  ])) {
    const x = [1.3, -0.4].slice(0, units);
    for (const sigma of [0.3, 0.1, 0.07, 0.05, 0.02]) {
      const onIt = finish(onGrid(linear(1, sigma, units), { points }));
      const [found] = finish(logMarginals(onIt, Float64Array.from(x), units));
      const sd = sigma / Math.sqrt(1 + sigma ** 2);
      near(found?.ratio ?? 0, 0.1 / sd, 1e-6);
      if (0.1 / sd > COARSEST) {
        assert.equal(found?.logMarginal, null);
        assert.match(found?.reason ?? "", /step is .* times/);
      } else {
        near(found?.logMarginal ?? NaN, logNormal(x, 1 + sigma ** 2), 1e-5);
      }
    }
  }
});

test("a posterior at the edge of its grid is refused", () => {
  const onIt = finish(onGrid(linear(1, 0.3, 1), { points: 241 }));
  const [inside, outside] = finish(logMarginals(onIt, Float64Array.of(3, 6.4), 1));
  near(inside?.logMarginal ?? NaN, logNormal([3], 1.09), 1e-6);
  assert.equal(outside?.logMarginal, null);
  assert.match(outside?.reason ?? "", /edge/);
});

test("a chain of linear levels: marginals one after the other", () => {
  // z_2 → z_1 = 0.8 z_2 + 0.6 ε, so that z_1 is N(0, 1) again.
  for (const [units, points] of /** @type {const} */ ([
    [1, 201],
    [2, 61],
  ])) {
    /** @param {number} scale @returns {(z: Float64Array) => Float64Array} */
    const level = (scale) => (z) => {
      const out = new Float64Array(2 * z.length).fill(2 * Math.log(scale));
      z.forEach((v, i) => {
        out[Math.floor(i / units) * 2 * units + (i % units)] = Math.sqrt(1 - scale ** 2) * v;
      });
      return out;
    };
    const chain = linear(1, 0.5, units);
    const x = [0.7, -1.1].slice(0, units);
    /** @param {((z: Float64Array) => Float64Array)[]} levels */
    const integral = (levels) => {
      const decoders = [...chain.decoders, ...levels];
      const onIt = finish(onGrid({ ...chain, decoders }, { points }));
      return finish(logMarginals(onIt, Float64Array.from(x), units))[0];
    };
    near(integral([level(0.6), level(0.7)])?.logMarginal ?? NaN, logNormal(x, 1.25), 1e-5);
    assert.equal(integral([level(0.6), level(0.02)])?.logMarginal, null);
    assert.equal(integral([level(0.02), level(0.6)])?.logMarginal, null);
  }
});

test("a level whose width varies more than its grid can follow is refused", () => {
  // p(z_1 | z_2) = N(0, exp(1.8 z_2)): flat in its mean, and seldom narrow.
  const wild = (/** @type {Float64Array} */ z) =>
    Float64Array.from([...z].flatMap((v) => [0, 1.8 * v]));
  const chain = linear(1, 0.5, 1);
  const model = { ...chain, decoders: [...chain.decoders, wild] };
  assert.ok(finish(onGrid(model, { points: 201 })).inner > COARSEST);
});

test("the ELBO of a linear model, the gap as a divergence", () => {
  for (const units of [1, 2]) {
    const x = [1.3, -0.4].slice(0, units);
    const [m, v] = [0.5, Math.log(0.09)];
    const q = Float64Array.from([...x.map(() => m), ...x.map(() => v)]);
    const found = finish(elboOnGrid(linear(1, 0.5, units), q, Float64Array.from(x)));
    const elbo = (found.reconstruction[0] ?? 0) - (found.rate[0] ?? 0);
    const gap = x.reduce(
      (sum, one) => sum + klNormal(m, Math.exp(v / 2), one / 1.25, Math.sqrt(0.2)),
      0,
    );
    near(elbo + gap, logNormal(x, 1.25), 1e-7);
  }
});

test("bounds from weights, and aggregates on grids", () => {
  near(kSampleBound([-1000, -1000]), -1000);
  near(kSampleBound([Math.log(1), Math.log(3)]), Math.log(2));
  const { z, logCell } = latentGrid([-9], [9], 901);
  const q = Float64Array.of(-1, Math.log(0.25), 2, Math.log(4));
  const log = finish(logAggregate(q, z, 1));
  near(
    log.reduce((sum, l) => sum + Math.exp(l + logCell), 0),
    1,
    1e-3,
  );
  const atOne = (Math.exp(logNormal([2], 0.25)) + Math.exp(logNormal([-1], 4))) / 2;
  near(log[500] ?? NaN, Math.log(atOne));
});

test("the trainer: the ELBO rises, all numbers fit together, a seed repeats", () => {
  const make = () => new Trainer({ hidden: 16, count: 500, seed: 1 });
  const trainer = make();
  const before = trainer.evaluate();
  trainer.step(600);
  const { view, bounds } = trainer.evaluate();
  assert.ok(view.elbo > before.view.elbo + 1);
  near(view.elbo, -view.distortion - view.rates.reduce((a, b) => a + b, 0));
  near(bounds.elbo, (bounds.logMarginal ?? NaN) - (bounds.gap ?? NaN));
  assert.ok((bounds.gap ?? -1) > 0);
  // Twenty times the ELBO of a view is that of the integrals, for the same points.
  near(view.elbo, bounds.elbo, 0.4);
  assert.ok(bounds.energyDistance < before.bounds.energyDistance);
  const again = make();
  again.step(300);
  again.evaluate();
  again.step(300);
  assert.deepEqual(again.model.parameters, trainer.model.parameters);
  // Each point once before any comes twice.
  const seen = new Set();
  const rounds = new Trainer({ count: 128, batch: 64 });
  for (let i = 0; i < 2; i++) {
    rounds.step();
    for (let r = 0; r < 128; r += 2) seen.add(rounds.x[r]);
  }
  assert.equal(seen.size, 128);
});

test("weights of the rates: a warm-up of all levels, and level by level", () => {
  const trainer = new Trainer({ levels: 3, warmUp: 300, beta: 2, count: 100, hidden: 4 });
  assert.deepEqual(trainer.betas, [0, 0, 0]);
  trainer.steps = 150;
  assert.deepEqual(trainer.betas, [1, 1, 1]);
  trainer.set({ warming: "level by level" });
  assert.deepEqual(trainer.betas, [2, 1, 0]);
  trainer.steps = 900;
  assert.deepEqual(trainer.betas, [2, 2, 2]);
});

test("the worker's loop: runs, shows, integrates, pauses, steps and starts anew", async () => {
  /** @type {any[]} */
  const posted = [];
  /** @type {(event: { data: any }) => void} */
  let heard = () => {};
  /** @type {() => void} */
  let wake = () => {};
  const end = serve({
    postMessage(message) {
      posted.push(message);
      wake();
    },
    addEventListener(_, hear) {
      heard = hear;
    },
  });
  /** @param {(message: any) => boolean} wanted */
  const until = async (wanted) => {
    while (!posted.some(wanted)) await new Promise((resolve) => (wake = () => resolve(null)));
    return posted.find(wanted);
  };
  heard({ data: { type: "reset", options: { hidden: 8, count: 200, units: 1 } } });
  await until(({ type, view }) => type === "view" && view.step === 0);
  heard({ data: { type: "step", count: 3 } });
  await until(({ type, bounds }) => type === "bounds" && bounds.step === 3);
  heard({ data: { type: "run" } });
  await until(({ type, view }) => type === "view" && view.step > 100);
  heard({ data: { type: "set", options: { beta: 3 } } });
  await until(({ type, view }) => type === "view" && view.betas[0] === 3);
  heard({ data: { type: "pause" } });
  const last = Math.max(...posted.map(({ view, bounds, step }) => step ?? (view ?? bounds).step));
  const rest = await until(({ type, step }) => type === "rest" && step >= last);
  const before = posted.slice(0, posted.indexOf(rest));
  for (const type of ["view", "bounds"]) {
    const final = before.filter((message) => message.type === type).at(-1);
    assert.equal(final[type].step, rest.step);
  }
  heard({ data: { type: "reset", options: { lr: 1e9, hidden: 8, count: 200 } } });
  heard({ data: { type: "run" } });
  await until(({ type }) => type === "failed");
  end();
});

test("a chosen x: its numbers are those of the integrals, its picture shows where z is likely", () => {
  for (const units of [1, 2]) {
    const trainer = new Trainer({ hidden: 16, count: 500, seed: 1, units });
    trainer.step(400);
    const x = [0.4, -1.1];
    const chosen = trainer.chosen(x);
    assert.ok(chosen && chosen.logMarginal !== null);
    assert.ok(chosen.elbo < chosen.logMarginal);
    const generative = trainer.model.generative();
    const grid = finish(onGrid(generative, { points: units === 1 ? 2001 : 301, bound: 7 }));
    const [found] = finish(logMarginals(grid, Float64Array.from(x)));
    near(chosen.logMarginal, found?.logMarginal ?? NaN, 1e-6);
    const { axis, density, side } = chosen;
    const peak = density.indexOf(Math.max(...density));
    const z =
      units === 1
        ? [axis[peak] ?? NaN]
        : [axis[peak % side] ?? NaN, axis[side - 1 - Math.floor(peak / side)] ?? NaN];
    /** @param {number[]} at */
    const logJoint = (at) => {
      const [a = NaN, b = NaN] = /** @type {any} */ (generative.decoders[0])(Float64Array.from(at));
      const squares = ((0.4 - a) ** 2 + (-1.1 - b) ** 2) * Math.exp(-generative.logvar);
      return -0.5 * (squares + at.reduce((sum, one) => sum + one * one, 0));
    };
    // No other point of the picture is likelier.
    for (const one of axis) {
      for (const other of units === 1 ? [0] : axis) {
        assert.ok(logJoint(units === 1 ? [one] : [one, other]) <= logJoint(z) + 1e-9);
      }
    }
  }
  assert.equal(new Trainer({ levels: 2 }).chosen([0, 0]), null);
});
