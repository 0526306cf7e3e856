// @ts-check
// A hierarchy of the tree that learns while somebody watches, and what each of its levels knows.
//
// A level is read by redrawing all that lies below it: keep z_l of a held-out point x, draw the rest
// from p(x | z_l), and ask how often what comes out lies in x's cluster. A third of the points would
// do so by chance. A rate does not say that: it counts nats, whatever they are about.

import { at } from "../nn.js";
import { mean, sum } from "../numbers.js";
import { generator, normal } from "../random.js";
import { CHILDREN, node } from "./data.js";
import { DATA_SIZE } from "./models.js";
import { Trainer } from "./training.js";

/**
 * @typedef {{ encoder: string, weights: string, free: string, seed?: number }} Recipe
 * `weights`: "at once", "warm-up" or "level by level"; `free`: nats a level that cost nothing.
 */

/** How long a model learns, and over which part of it the weights of the rates rise. */
export const STEPS = 4000;
const RISE = 0.6;
const RATE = 4e-3;
const SAME = { data: /** @type {const} */ ("tree"), levels: 3, units: 2, hidden: 32, batch: 64 };
export const CHANCE = 1 / CHILDREN;
// Held-out points of a look, and of the last one; how often each is redrawn.
const WATCHED = 120;
const COUNTED = 1000;
const REDRAWS = 4;
// Redrawn points that are shown.
const SHOWN = 150;

/**
 * The number of the cluster of each point: that of the leaf next to it.
 * @param {ArrayLike<number>} points
 * @returns {number[]}
 */
export function clusters(points) {
  const children = Array.from({ length: CHILDREN }, (_, k) => k);
  const leaves = children.flatMap((a) =>
    children.flatMap((b) => children.map((c) => ({ cluster: a, place: node([a, b, c]) }))),
  );
  return Array.from({ length: points.length / 2 }, (_, i) => {
    let [nearest, cluster] = [Infinity, 0];
    for (const leaf of leaves) {
      const [x, y] = leaf.place;
      const square = ((points[2 * i] ?? 0) - x) ** 2 + ((points[2 * i + 1] ?? 0) - y) ** 2;
      if (square < nearest) [nearest, cluster] = [square, leaf.cluster];
    }
    return cluster;
  });
}

/**
 * Draw x from p(x | z_l): all that lies below the level is drawn anew.
 * @param {import("./models.js").Model} model
 * @param {number} level l, from 1 on.
 * @param {Float64Array} z
 * @param {() => number} draw Standard normal numbers.
 * @returns {Float64Array}
 */
export function redraw(model, level, z, draw) {
  const { decoders } = model.generative();
  const { units, sigma } = model;
  for (const decode of decoders.slice(1, level).reverse()) {
    const p = decode(z);
    z = Float64Array.from({ length: z.length }, (_, i) => {
      const mu = i + Math.floor(i / units) * units;
      return at(p, mu) + Math.exp(0.5 * at(p, mu + units)) * draw();
    });
  }
  const decode = /** @type {(z: Float64Array) => Float64Array} */ (decoders[0]);
  return decode(z).map((value) => value + sigma * draw());
}

export class Race {
  /**
   * @param {Recipe} recipe
   * @param {number} [steps]
   */
  constructor({ encoder, weights, free, seed = 0 }, steps = STEPS) {
    this.steps = steps;
    this.trainer = new Trainer({
      ...SAME,
      encoder: encoder === "top-down" ? "top-down" : "bottom-up",
      warmUp: weights === "at once" ? 0 : RISE * steps,
      warming: weights === "level by level" ? weights : "together",
      freeNats: Number(free),
      seed,
    });
    this.labels = clusters(this.trainer.heldOut);
  }

  get over() {
    return this.trainer.steps >= this.steps;
  }

  /** One step; the learning rate falls along half a cosine. */
  step() {
    const done = this.trainer.steps / this.steps;
    this.trainer.set({ lr: RATE * 0.5 * (1 + Math.cos(Math.PI * done)) });
    this.trainer.step();
  }

  /**
   * What each level knows, of held-out points. Nats are means at β = 1, whatever the recipe.
   * @param {number} [points]
   */
  look(points = WATCHED) {
    const { trainer, labels } = this;
    const model = trainer.look(points, REDRAWS);
    const distortion = -mean(model.reconstruction);
    if (model.hasAnalytic) model.rates.forEach((_, l) => model.analyticRates(l));
    const rates = model.rates.map(mean);
    const draw = normal(generator(3));
    const drawn = model.z.map((z, l) => redraw(model, l + 1, z, draw));
    const share = drawn.map((x) =>
      mean(clusters(x).map((found, r) => Number(found === labels[r % points]))),
    );
    // Of the points of one cluster: where they land when z_L alone is kept.
    const top = /** @type {Float64Array} */ (drawn[drawn.length - 1]);
    const ofOne = top.filter((_, i) => labels[Math.floor(i / DATA_SIZE) % points] === 0);
    return {
      step: trainer.steps,
      betas: trainer.betas,
      rates,
      share,
      elbo: -distortion - sum(rates),
      landed: ofOne.slice(0, 2 * SHOWN),
    };
  }

  /** The last look, at more points. */
  result() {
    return this.look(COUNTED);
  }
}

/** @typedef {ReturnType<Race["look"]>} Look */

/**
 * @typedef {{ type: "start", recipe: Recipe, id: number, every: number, steps?: number }
 *   | { type: "pause" } | { type: "go" } | { type: "end" }} Order
 * `every`: milliseconds between two looks.
 */

// Training between two times that orders are heard, in milliseconds.
const SLICE = 12;

/**
 * The loop of the worker: posts `{ type: "look", look }` now and then, `{ type: "done", look }` at the
 * end, and `{ type: "failed" }` when training diverged.
 * @param {{ postMessage: (message: any) => void,
 *   addEventListener: (type: "message", hear: (event: { data: Order }) => void) => void }} scope
 * @returns {() => void} Ends the loop: where no page ends the worker, as in a test.
 */
export function serve(scope) {
  /** @type {Race | null} */
  let race = null;
  let [id, every, running, waiting, lookedAt] = [0, 0, false, false, -Infinity];
  const post = (/** @type {Record<string, any>} */ message) =>
    scope.postMessage({ ...message, id });
  const channel = new MessageChannel();
  channel.port1.onmessage = () => slice();
  const again = () => {
    if (!waiting) channel.port2.postMessage(null);
    waiting = true;
  };
  const slice = () => {
    waiting = false;
    if (!race || !running || race.over) return;
    if (performance.now() - lookedAt >= every) {
      post({ type: "look", look: race.look() });
      // What a look takes counts for none of the time between two.
      lookedAt = performance.now();
    }
    const start = performance.now();
    do race.step();
    while (!race.over && performance.now() - start < SLICE);
    if (race.over || !Number.isFinite(race.trainer.loss)) {
      running = false;
      post(race.over ? { type: "done", look: race.result() } : { type: "failed" });
    } else again();
  };
  scope.addEventListener("message", ({ data: order }) => {
    if (order.type === "start") {
      race = new Race(order.recipe, order.steps);
      id = order.id;
      every = order.every;
      lookedAt = -Infinity;
      running = true;
    } else if (order.type === "end") race = null;
    else running = order.type === "go";
    again();
  });
  return () => channel.port1.close();
}
