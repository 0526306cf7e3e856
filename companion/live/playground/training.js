// @ts-check
// A model that learns while somebody watches: the trainer, what it has to show, and the loop of the
// worker that it lives in.
//
// Two looks at a model. `view` takes some milliseconds, for every few frames. `bounds` are the
// integrals: they work on a copy of the weights, in pieces, while training goes on.

import {
  COARSEST,
  coarse,
  elboOnGrid,
  energyDistance,
  finish,
  integrate,
  kSampleBound,
  logAggregate,
  logMarginals,
  onGrid,
} from "../bounds.js";
import { Adam, at } from "../nn.js";
import { mean } from "../numbers.js";
import { generator, normal } from "../random.js";
import { dataSet, drawnSet } from "./data.js";
import { DATA_SIZE, Model } from "./models.js";

/** @typedef {import("./data.js").Name} Name */
/** @typedef {import("../bounds.js").OnGrid} OnGrid */

/**
 * @typedef {object} Options
 * @property {Name | "drawn"} data
 * @property {number[]} clicks Pairs of coordinates that the reader drew.
 * @property {number} jitter Spread around them.
 * @property {number | null} noise Of the data; null is each set's own.
 * @property {number} count Points to learn from.
 * @property {number} levels
 * @property {number} units
 * @property {number} hidden
 * @property {"bottom-up" | "top-down"} encoder
 * @property {number} sigma
 * @property {boolean} learnSigma
 * @property {number} seed
 * @property {number} batch
 * @property {number} draws K
 * @property {"elbo" | "iwae"} bound
 * @property {"sampled" | "analytic"} rates
 * @property {number} beta
 * @property {number} warmUp Steps until β has its value; 0 is none.
 * @property {"together" | "level by level"} warming All weights rise at once, or z_1's first.
 * @property {number} freeNats λ of each level.
 * @property {number} lr
 * @property {"both" | "encoder" | "decoder"} train What moves: with the decoder at rest, log p(x) is.
 */

/**
 * @typedef {object} Elbo
 * @property {Float64Array} values Of each point.
 * @property {number} standardError Of their mean, where draws were taken.
 * @property {number} distortion
 * @property {number[]} rates Of each level; distortion and rates make up the mean of the values.
 * @property {number[]} information What each level tells about x, but that which is drawn from x.
 * @property {number} kSample The mean of the bound with as many samples as the objective takes.
 */
/** @typedef {{ logMarginals: Float64Array | null, ratio: number, reason: string }} Marginals */

/** @type {Options} */
export const DEFAULTS = {
  data: "moons",
  clicks: [],
  jitter: 0.08,
  noise: null,
  count: 2000,
  levels: 1,
  units: 2,
  hidden: 32,
  encoder: "bottom-up",
  sigma: 0.3,
  learnSigma: true,
  seed: 0,
  batch: 64,
  draws: 1,
  bound: "elbo",
  rates: "sampled",
  beta: 1,
  warmUp: 0,
  warming: "together",
  freeNats: 0,
  lr: 3e-3,
  train: "both",
};

/** What may change while a model learns; anything else asks for a new one. */
export const CHANGEABLE = /** @type {const} */ ([
  "sigma",
  "batch",
  "draws",
  "bound",
  "rates",
  "beta",
  "warmUp",
  "warming",
  "freeNats",
  "lr",
  "train",
]);

// Points that are never learned from: those of a view, of which the first are integrated too.
const HELD_OUT = 1000;
const WATCHED = 200;
const INTEGRATED = 64;
const VIEW_DRAWS = 5;
const NUMBER_DRAWS = 16;
const BOUND_DRAWS = 64;
const CHOSEN_DRAWS = 8;
// How far from the middle a posterior is shown.
const SHOWN = 3.6;
// A unit is active if its mean moves with x by more than this variance, as in the package.
const ACTIVE = 0.01;
// The finest grids that are tried: points an axis, for one unit and for two (with several levels).
const FINEST = { one: 6401, two: 401, deep: 141 };

export class Trainer {
  /** @param {Partial<Options>} [options] */
  constructor(options = {}) {
    this.options = { ...DEFAULTS, ...options };
    const { seed, data, clicks, jitter, noise, count } = this.options;
    const total = count + HELD_OUT;
    const points =
      data === "drawn"
        ? drawnSet(clicks, total, { seed, jitter })
        : dataSet(data, total, noise === null ? { seed } : { seed, noise });
    this.heldOut = points.slice(0, HELD_OUT * DATA_SIZE);
    this.data = points.slice(HELD_OUT * DATA_SIZE);
    this.model = new Model(this.options);
    /** The copies that are looked at: for what is drawn, and for its numbers. */
    this.twin = new Model(this.options);
    this.near = new Model(this.options);
    this.adam = new Adam(this.model.parameters.length);
    this.uniform = generator(seed + 1);
    this.gauss = normal(this.uniform);
    this.steps = 0;
    /** The last step's loss. */
    this.loss = NaN;
    this.next = 0;
    this.x = new Float64Array();
    /** The grid that was fine enough last time. */
    this.points = this.options.units === 1 ? 401 : 81;
    this.bound = 6;
    /** @type {{ step: number, sigma: number, model: Model, grid: OnGrid } | null} */
    this.pin = null;
  }

  /**
   * Change options while the model learns.
   * @param {Partial<Options>} options
   */
  set(options) {
    for (const name of CHANGEABLE) {
      if (options[name] !== undefined) Object.assign(this.options, { [name]: options[name] });
    }
    if (options.sigma !== undefined && !this.options.learnSigma) {
      this.model.logvar[0] = 2 * Math.log(options.sigma);
    }
  }

  /** What each level's rate weighs now. */
  get betas() {
    const { beta, warmUp, warming, levels } = this.options;
    const share = warmUp > 0 ? this.steps / warmUp : 1;
    return Array.from({ length: levels }, (_, l) => {
      const own = warming === "together" || warmUp === 0 ? share : share * levels - l;
      return beta * Math.min(1, Math.max(0, own));
    });
  }

  /** @param {number} [count] */
  step(count = 1) {
    const { batch, draws, bound, rates, freeNats, lr, train } = this.options;
    const { model } = this;
    const { encoding } = model;
    const all = model.parameters.length;
    model.reserve(batch, draws);
    if (this.x.length !== batch * DATA_SIZE) this.x = new Float64Array(batch * DATA_SIZE);
    for (let i = 0; i < count; i++) {
      this.nextBatch();
      model.draw(this.gauss);
      const closed = rates === "analytic" && model.hasAnalytic ? "analytic" : "sampled";
      this.loss = model.loss(this.x, { bound, rates: closed, betas: this.betas, freeNats });
      const [from, to] = { both: [0, all], encoder: [0, encoding], decoder: [encoding, all] }[
        train
      ];
      this.adam.step(model.parameters, model.gradients, lr, from, to);
      this.steps += 1;
    }
  }

  /** Each point once, in an order of chance; then again in another. */
  nextBatch() {
    const { data, x, uniform } = this;
    const rows = data.length / DATA_SIZE;
    for (let i = 0; i < x.length; i += DATA_SIZE) {
      // One step of a shuffle: the point is taken from those that are left of this round.
      if (this.next >= rows) this.next = 0;
      const other = this.next + Math.floor(uniform() * (rows - this.next));
      for (let j = 0; j < DATA_SIZE; j++) {
        const kept = at(data, other * DATA_SIZE + j);
        data[other * DATA_SIZE + j] = at(data, this.next * DATA_SIZE + j);
        data[this.next * DATA_SIZE + j] = kept;
        x[i + j] = kept;
      }
      this.next += 1;
    }
  }

  /**
   * Copy the weights, and trace held-out points with them; the same ε each time, so that curves
   * move with the weights alone, and half of them the other half's mirror images.
   * @param {number} count
   * @param {number} draws
   * @param {Model} [twin]
   * @returns {Model}
   */
  look(count, draws, twin = this.twin) {
    twin.parameters.set(this.model.parameters);
    twin.logvar[0] = at(this.model.logvar, 0);
    twin.reserve(count, draws);
    twin.draw(normal(generator(7)));
    for (const noise of twin.noise) {
      const half = (draws >> 1) * count * twin.units;
      noise.subarray(half, 2 * half).set(noise.subarray(0, half).map((e) => -e));
    }
    twin.trace(this.heldOut.subarray(0, count * DATA_SIZE));
    return twin;
  }

  /** What can be seen at once. Nats are means over held-out points; arrays belong to the caller. */
  view() {
    // The same points as for the integrals: what is told of them must fit together.
    const near = this.look(INTEGRATED, NUMBER_DRAWS, this.near);
    if (near.hasAnalytic) near.rates.forEach((_, l) => near.analyticRates(l));
    const rates = near.rates.map(mean);
    const distortion = -mean(near.reconstruction);
    const seen = this.look(WATCHED, VIEW_DRAWS);
    const { levels, units, first } = seen;
    const q = seen.q.map((of) => of.slice(0, WATCHED * 2 * units));
    const z = seen.z.map((of) => of.slice(0, WATCHED * units));
    const information = firstInformation(seen);
    const samples = seen.sample(400, normal(generator(8)));
    // The decoder's manifold: the mean of x over a lattice of z_1, where the model's z_1 are.
    const drawn = /** @type {Float64Array} */ (samples[1]);
    const around = levels === 1 ? unitSpread(units) : spread(drawn, units);
    const lattice = latticeOf(around, units === 1 ? 201 : 25);
    const decode = /** @type {(z: Float64Array) => Float64Array} */ (seen.generative().decoders[0]);
    return {
      step: this.steps,
      epoch: (this.steps * this.options.batch) / (this.data.length / DATA_SIZE),
      loss: this.loss,
      betas: this.betas,
      sigma: seen.sigma,
      elbo: -distortion - rates.reduce((sum, rate) => sum + rate, 0),
      distortion,
      rates,
      /** I_q(x; z) of the level drawn from x, in nats: of the watched points, so log 200 at most. */
      information,
      /** KL(q(z) ‖ p(z)) of the aggregated posterior; known for one level. */
      marginalKl: levels === 1 ? mean(part(seen.rates, 0)) - information : null,
      /** Share of the units, over all levels, whose mean follows x. */
      active: mean(Float64Array.from(seen.q.flatMap((_, l) => activeUnits(seen, l)))),
      first,
      x: this.heldOut.slice(0, WATCHED * DATA_SIZE),
      /** Of each level: μ and log σ² of q side by side, and a draw, for each watched point. */
      q,
      z,
      /** Draws from the model: x, z_1 … z_L. */
      samples,
      lattice,
      manifold: decode(lattice),
    };
  }

  /**
   * What only integrals tell: log p(x) and the gap, over held-out points; and how far samples are
   * from data. `logMarginal` and `gap` are null where no grid of a bearable size is fine enough,
   * and `reason` says so.
   */
  *bounds() {
    const step = this.steps;
    const seen = this.look(INTEGRATED, 1);
    // Later looks take the twin: what the integrals need is copied here.
    const { units, levels } = seen;
    const copy = new Model(this.options);
    copy.parameters.set(seen.parameters);
    copy.logvar[0] = at(seen.logvar, 0);
    const x = this.heldOut.subarray(0, INTEGRATED * DATA_SIZE);
    const several = levels > 1 || this.options.bound === "iwae";
    const sampled = several ? yield* this.sampledElbo(copy, x) : null;
    const exact = levels === 1 ? yield* this.integratedElbo(copy, x) : null;
    const elbo = /** @type {Elbo} */ (exact ?? sampled);
    const found = yield* this.logMarginal(copy, x);
    const samples = copy.sample(HELD_OUT, normal(generator(9)))[0] ?? x;
    yield;
    const energy = yield* energyDistance(samples, this.heldOut);
    const values = found.logMarginals;
    const gaps = values && values.map((log, b) => log - at(elbo.values, b));
    return {
      step,
      elbo: mean(elbo.values),
      distortion: elbo.distortion,
      rates: elbo.rates,
      information: elbo.information,
      /** Of the mean, where the ELBO is sampled. */
      standardError: elbo.standardError,
      /** The bound of K samples, where they are what is trained. */
      kSample: this.options.bound === "iwae" ? (sampled?.kSample ?? null) : null,
      logMarginal: values && mean(values),
      gap: gaps && mean(gaps),
      gaps,
      reason: found.reason,
      grid: { points: this.points, ratio: found.ratio, units },
      energyDistance: energy,
    };
  }

  /**
   * One x of the reader's: its exact posterior on a grid, and the encoder's answer, or the reader's
   * own; with some draws from it, and what they are decoded to. For one level.
   * @param {number[]} x
   * @param {ArrayLike<number> | null} [own] Means and log-variances.
   */
  chosen(x, own = null) {
    const { units, levels } = this.options;
    if (levels > 1) return null;
    const { grid, model } = this.pinned();
    const logJoint = new Float64Array(grid.logPrior.length);
    const { logMarginal, reason } = integrate(grid, x, logJoint);
    const encoder = /** @type {Model["encoders"][number]} */ (model.encoders[0]);
    const answer = encoder.forward(Float64Array.from(x), 1).slice(0, 2 * units);
    const q = own ? Float64Array.from(own) : answer;
    const { reconstruction, rate } = finish(
      elboOnGrid(model.generative(), q, Float64Array.from(x)),
    );
    const elbo = at(reconstruction, 0) - at(rate, 0);
    const gauss = normal(generator(11));
    const z = Float64Array.from({ length: CHOSEN_DRAWS * units }, (_, i) => {
      const j = i % units;
      return at(q, j) + Math.exp(0.5 * at(q, units + j)) * gauss();
    });
    const decode = /** @type {(z: Float64Array) => Float64Array} */ (
      model.generative().decoders[0]
    );
    const shading = shade(logJoint, grid.grid, units);
    const mine = own !== null;
    return { x, q, mine, elbo, logMarginal, reason, z, decoded: decode(z), ...shading };
  }

  /** The model as it is now, on its grid: made once for all x until the next step. */
  pinned() {
    if (this.pin?.step !== this.steps || this.pin.sigma !== this.model.sigma) {
      const model = new Model(this.options);
      model.parameters.set(this.model.parameters);
      model.logvar[0] = at(this.model.logvar, 0);
      const { bound } = this;
      const points = Math.max(this.options.units === 1 ? 1201 : 161, Math.ceil(1.3 * this.points));
      const grid = finish(onGrid(model.generative(), { points, bound }));
      this.pin = { step: this.steps, sigma: model.sigma, model, grid };
    }
    return this.pin;
  }

  /** Both looks at once. */
  evaluate() {
    return { view: this.view(), bounds: finish(this.bounds()) };
  }

  /**
   * @param {Model} model
   * @param {Float64Array} x
   * @returns {Generator<void, Elbo, void>}
   */
  *integratedElbo(model, x) {
    const rows = x.length / DATA_SIZE;
    const encoder = /** @type {Model["encoders"][number]} */ (model.encoders[0]);
    const q = encoder.forward(x, rows).slice(0, rows * 2 * model.units);
    const { reconstruction, rate } = yield* elboOnGrid(model.generative(), q, x);
    return {
      values: reconstruction.map((value, b) => value - at(rate, b)),
      standardError: 0,
      distortion: -mean(reconstruction),
      rates: [mean(rate)],
      information: [],
      kSample: NaN,
    };
  }

  /**
   * @param {Model} model
   * @param {Float64Array} x
   * @returns {Generator<void, Elbo, void>}
   */
  *sampledElbo(model, x) {
    const rows = x.length / DATA_SIZE;
    const gauss = normal(generator(10));
    const logWeights = Array.from({ length: rows }, () => /** @type {number[]} */ ([]));
    const width = 2 * model.units;
    const several = Array.from(
      { length: model.levels },
      () => new Float64Array(rows * BOUND_DRAWS * width),
    );
    const share = 4 / BOUND_DRAWS;
    const rates = new Array(model.levels).fill(0);
    let distortion = 0;
    model.reserve(rows, 4);
    for (let draw = 0; draw < BOUND_DRAWS; draw += 4) {
      model.draw(gauss);
      model.trace(x);
      distortion -= share * mean(model.reconstruction);
      model.rates.forEach((own, l) => (rates[l] += share * mean(own)));
      model.q.forEach((own, l) => {
        if (l !== model.first) {
          several[l]?.set(own.subarray(0, 4 * rows * width), draw * rows * width);
        }
      });
      for (let r = 0; r < model.reconstruction.length; r++) {
        const rate = model.rates.reduce((sum, rates) => sum + at(rates, r), 0);
        logWeights[r % rows]?.push(at(model.reconstruction, r) - rate);
      }
      yield;
    }
    const values = Float64Array.from(logWeights, (own) => mean(Float64Array.from(own)));
    let variance = 0;
    logWeights.forEach((own, b) => {
      for (const log of own) variance += (log - at(values, b)) ** 2 / (own.length - 1) / own.length;
    });
    // The draws of the last trace are told by the mixtures of all others.
    const information = [];
    for (let l = 0; l < model.levels; l++) {
      const last = part(model.z, l).subarray(0, 4 * rows * model.units);
      const known = l === model.first;
      information.push(
        known ? NaN : yield* upperInformation(part(several, l), last, rows, model.units),
      );
    }
    const K = this.options.draws;
    const groups = logWeights.flatMap((own) =>
      Array.from({ length: Math.floor(BOUND_DRAWS / K) }, (_, g) => own.slice(g * K, (g + 1) * K)),
    );
    return {
      values,
      standardError: Math.sqrt(variance) / rows,
      distortion,
      rates,
      information,
      kSample: mean(groups.map(kSampleBound)),
    };
  }

  /**
   * log p(x) on grids that grow until one is fine and wide enough, or would take too long. What was
   * enough is where the next look begins.
   * @param {Model} model
   * @param {Float64Array} x
   * @returns {Generator<void, Marginals, void>}
   */
  *logMarginal(model, x) {
    const { levels, units } = model;
    const finest = units === 1 ? FINEST.one : levels === 1 ? FINEST.two : FINEST.deep;
    for (;;) {
      const grid = yield* onGrid(model.generative(), { points: this.points, bound: this.bound });
      const found = yield* logMarginals(grid, x);
      const ratio = found.reduce((worst, one) => Math.max(worst, one.ratio), grid.inner);
      const failed = found.find((one) => one.reason);
      if (!failed) {
        // A coarser grid would do: the next look takes less time.
        const enough = Math.ceil((this.points * ratio) / 0.9);
        if (ratio < 0.6) this.points = Math.max(units === 1 ? 401 : 61, enough);
        const logMarginals = Float64Array.from(found, (one) => one.logMarginal ?? NaN);
        return { logMarginals, ratio, reason: "" };
      }
      const narrow = ratio <= COARSEST;
      // A grid that would be fine enough, by what this one sees, and more than is bearable.
      const hopeless = !narrow && (this.points * ratio) / COARSEST > 1.05 * finest;
      if (this.points >= finest || hopeless || (narrow && this.bound > 8)) {
        return { logMarginals: null, ratio, reason: narrow ? failed.reason : coarse(ratio) };
      }
      const wider = narrow ? 1.5 : Math.min(4, ratio);
      if (narrow) this.bound *= 1.5;
      this.points = Math.min(finest, Math.ceil(this.points * wider));
    }
  }
}

/** @typedef {ReturnType<Trainer["view"]>} View */
/** @typedef {ReturnType<Trainer["chosen"]>} Chosen */
/**
 * @typedef {ReturnType<Trainer["bounds"]> extends Generator<any, infer R, any> ? R : never} Bounds
 */

/**
 * A density on a grid as a picture of the plane, or a curve: what lies within 3.6 of the middle.
 * @param {Float64Array} logJoint
 * @param {OnGrid["grid"]} grid
 * @param {number} units
 */
function shade(logJoint, { z, points, logCell }, units) {
  const axis = Array.from({ length: points }, (_, i) => at(z, units === 1 ? i : 2 * i + 1));
  const first = axis.findIndex((value) => value >= -SHOWN);
  const shown = axis.filter((value) => Math.abs(value) <= SHOWN);
  const highest = logJoint.reduce((most, log) => Math.max(most, log), -Infinity);
  const weights = logJoint.map((log) => Math.exp(log - highest));
  const side = shown.length;
  const ends = [shown[0] ?? 0, shown[side - 1] ?? 0];
  if (units === 1) {
    const mass = weights.reduce((sum, weight) => sum + weight, 0) * Math.exp(logCell);
    const density = shown.map((_, i) => at(weights, first + i) / mass);
    return { axis: shown, density, ends, side };
  }
  // From the upper left corner: the first unit runs to the right, the second one down.
  const density = Array.from({ length: side * side }, (_, k) => {
    const column = first + (k % side);
    const row = first + side - 1 - Math.floor(k / side);
    return at(weights, column * points + row);
  });
  return { axis: shown, density, ends, side };
}

/**
 * I_q(x; z) = E[log q(z | x) − log q(z)] over the watched points, of the level drawn from x.
 * @param {Model} seen
 * @returns {number}
 */
function firstInformation({ q, z, units, batch, first }) {
  const width = 2 * units;
  const rows = part(q, first).subarray(0, batch * width);
  const drawn = part(z, first).subarray(0, batch * units);
  const marginal = finish(logAggregate(rows, drawn, units));
  let sum = 0;
  for (let n = 0; n < batch; n++) {
    const row = rows.subarray(n * width, (n + 1) * width);
    const point = drawn.subarray(n * units, (n + 1) * units);
    sum += at(finish(logAggregate(row, point, units)), 0) - at(marginal, n);
  }
  return sum / batch;
}

/**
 * The same of a level beyond. There q(z_l | x) is a mixture over draws of the level before, and q(z_l)
 * one over those of all points: of all draws but the last four, which are what is told. With few
 * draws that says too little, and never more than there is but for noise.
 * @param {Float64Array} q Means and log-variances: draw by draw, point by point.
 * @param {Float64Array} z The last four draws.
 * @param {number} rows Points.
 * @param {number} units
 * @returns {Generator<void, number, void>}
 */
function* upperInformation(q, z, rows, units) {
  const width = 2 * units;
  const draws = q.length / (rows * width) - 4;
  const others = q.subarray(0, draws * rows * width);
  const marginal = yield* logAggregate(others, z, units);
  const mine = new Float64Array(draws * width);
  let sum = 0;
  for (let n = 0; n < rows; n++) {
    for (let k = 0; k < draws; k++) {
      const from = (k * rows + n) * width;
      mine.set(others.subarray(from, from + width), k * width);
    }
    for (let k = 0; k < 4; k++) {
      const row = k * rows + n;
      const point = z.subarray(row * units, (row + 1) * units);
      const own = at(finish(logAggregate(mine, point, units)), 0);
      // A draw that no other one comes near tells nothing of x, as far as these draws can say.
      if (own > -Infinity) sum += own - at(marginal, row);
    }
    yield;
  }
  return sum / (4 * rows);
}

/**
 * @param {Float64Array[]} arrays
 * @param {number} index
 * @returns {Float64Array}
 */
function part(arrays, index) {
  return /** @type {Float64Array} */ (arrays[index]);
}

/**
 * For each unit of a level 1 if its mean follows x, as `companion.diagnostics.active_units` tells.
 * @param {Model} seen
 * @param {number} l
 * @returns {number[]}
 */
function activeUnits({ q, units, batch, draws, first }, l) {
  const own = /** @type {Float64Array} */ (q[l]);
  const times = l === first ? 1 : draws;
  return Array.from({ length: units }, (_, j) => {
    const means = new Float64Array(batch);
    let within = 0;
    for (let n = 0; n < batch; n++) {
      const values = Float64Array.from({ length: times }, (__, k) =>
        at(own, (k * batch + n) * 2 * units + j),
      );
      means[n] = mean(values);
      if (times > 1) within += variance(values) / batch;
    }
    return variance(means) - within / times > ACTIVE ? 1 : 0;
  });
}

/**
 * @param {Float64Array} values
 * @returns {number}
 */
function variance(values) {
  const centre = mean(values);
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += (at(values, i) - centre) ** 2;
  return sum / (values.length - 1);
}

/**
 * @param {number} units
 * @returns {{ centre: number, half: number }[]}
 */
function unitSpread(units) {
  return Array.from({ length: units }, () => ({ centre: 0, half: 3 }));
}

/**
 * Three standard deviations around the mean, axis by axis.
 * @param {Float64Array} z
 * @param {number} units
 * @returns {{ centre: number, half: number }[]}
 */
function spread(z, units) {
  return Array.from({ length: units }, (_, j) => {
    const values = z.filter((__, i) => i % units === j);
    return { centre: mean(values), half: 3 * Math.sqrt(variance(values)) };
  });
}

/**
 * @param {{ centre: number, half: number }[]} around
 * @param {number} points
 * @returns {Float64Array}
 */
function latticeOf(around, points) {
  const d = around.length;
  const count = points ** d;
  return Float64Array.from({ length: count * d }, (_, i) => {
    const j = i % d;
    const row = Math.floor(i / d);
    const place = j === d - 1 ? row % points : Math.floor(row / points);
    const { centre = 0, half = 0 } = around[j] ?? {};
    return centre + half * ((2 * place) / (points - 1) - 1);
  });
}

/**
 * @typedef {{ type: "reset", options?: Partial<Options>, id?: number } | { type: "run", speed?: number }
 *   | { type: "pause" } | { type: "step", count?: number }
 *   | { type: "set", options: Partial<Options> } | { type: "choose", x: number[] | null, q?: number[] | null }} Order
 * `speed` is in steps a second; without it, as fast as it goes.
 */

// One slice of work: training, then a piece of the integrals. Orders are heard between slices.
const TRAINING = 8;
const SLICE = 12;
// How often the posterior of the reader's x is shown while the model learns.
const CHOSEN_EVERY = 250;
// How often is shown what has changed, and how often the integrals start anew.
const VIEW_EVERY = 80;
const BOUNDS_EVERY = 300;

/**
 * The loop of the worker: takes orders, posts `{ type: "view", view }` and
 * `{ type: "bounds", bounds }`, and `{ type: "failed", message }` when training diverged.
 * @param {{ postMessage: (message: any) => void,
 *   addEventListener: (type: "message", hear: (event: { data: Order }) => void) => void }} scope
 * @returns {() => void} Ends the loop: where no page ends the worker, as in a test.
 */
export function serve(scope) {
  // Of the model that is shown: its messages carry it.
  let id = 0;
  const post = (/** @type {Record<string, any>} */ message) =>
    scope.postMessage({ ...message, id });
  let trainer = new Trainer();
  let running = false;
  let speed = Infinity;
  let started = 0;
  let stepsThen = 0;
  /** @type {Generator<void, Bounds, void> | null} */
  let work = null;
  let shown = -1;
  let shownAt = -Infinity;
  let integrated = -1;
  let integratedAt = -Infinity;
  let integrateAt = -Infinity;
  let waiting = false;
  /** @type {number[] | null} */
  let x = null;
  /** @type {number[] | null} */
  let q = null;
  let chosenAt = -Infinity;
  const choose = () => {
    chosenAt = performance.now();
    if (x) post({ type: "chosen", chosen: trainer.chosen(x, q) });
  };

  // A timer would wait four milliseconds between two slices; a message to oneself does not.
  const channel = new MessageChannel();
  channel.port1.onmessage = () => slice();
  const again = () => {
    if (waiting) return;
    waiting = true;
    channel.port2.postMessage(null);
  };

  const slice = () => {
    waiting = false;
    const start = performance.now();
    if (running) {
      const due = stepsThen + ((start - started) * speed) / 1000;
      while (trainer.steps < due && performance.now() - start < TRAINING) trainer.step();
      if (!Number.isFinite(trainer.loss) && trainer.steps) {
        running = false;
        work = null;
        post({ type: "failed", message: "The loss is no number any more" });
        return;
      }
    }
    const behind = !running || start - shownAt > VIEW_EVERY;
    if (shown !== trainer.steps && behind) {
      shown = trainer.steps;
      shownAt = start;
      post({ type: "view", view: trainer.view() });
      if (!running || start - chosenAt > CHOSEN_EVERY) choose();
    }
    if (!work && integrated !== trainer.steps && start > integrateAt) {
      work = trainer.bounds();
      integratedAt = start;
    }
    while (work && performance.now() - start < SLICE) {
      const { done, value } = work.next();
      if (!done) continue;
      integrated = value.step;
      work = null;
      // At full speed integrals take a third of the time, and less where they led nowhere; else all
      // that training leaves.
      const took = performance.now() - integratedAt;
      const rest = value.reason ? 10 : speed < Infinity ? 1 : 3;
      integrateAt = integratedAt + Math.max(BOUNDS_EVERY, rest * took);
      post({ type: "bounds", bounds: value });
    }
    if (!running && !work && integrated === trainer.steps) {
      post({ type: "rest", step: trainer.steps });
      return;
    }
    // With nothing to do until the next step, or the next integrals, the processor may rest.
    const due = running ? stepsThen + ((start - started) * speed) / 1000 : 0;
    if (!work && trainer.steps >= due) setTimeout(again, 8);
    else again();
  };

  scope.addEventListener("message", ({ data: order }) => {
    if (order.type === "reset") {
      trainer = new Trainer(order.options);
      id = order.id ?? id + 1;
      running = false;
      work = null;
      shown = integrated = -1;
      integrateAt = -Infinity;
    } else if (order.type === "run") {
      running = true;
      speed = order.speed ?? Infinity;
      started = performance.now();
      stepsThen = trainer.steps;
    } else if (order.type === "pause") {
      running = false;
      integrateAt = -Infinity;
    } else if (order.type === "choose") {
      x = order.x;
      q = order.q ?? null;
      choose();
    } else if (order.type === "step") {
      trainer.step(order.count ?? 1);
      integrateAt = -Infinity;
    } else {
      // What was learned before the switch is measured at the switch.
      if (order.options.train !== undefined && trainer.steps !== integrated && running) {
        post({ type: "bounds", bounds: finish(trainer.bounds()) });
        work = null;
      }
      trainer.set(order.options);
      // Some options change what is seen at once.
      shown = integrated = -1;
    }
    again();
  });
  return () => channel.port1.close();
}
