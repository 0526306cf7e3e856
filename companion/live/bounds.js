// @ts-check
// What the page knows exactly: with one or two latent units a grid holds the whole latent space, so
// log p(x), the posterior, the ELBO and the gap between them are sums.
//
// Work that may take long is a generator function: it yields between pieces of a few milliseconds,
// so that a worker can train meanwhile. `finish` runs one to its end.

import { gaussianKl } from "./gaussian.js";
import { at } from "./nn.js";
import { logSumExp } from "./numbers.js";

const LOG_TWO_PI = Math.log(2 * Math.PI);

/** A grid's step may be 1.25 standard deviations at most: its sums are then good to 1e-5. */
export const COARSEST = 1.25;
/** How much of a posterior may lie on the outermost points of its grid. */
const EDGE = 1e-6;
/** Points whose density is below e⁻⁷ of the highest do not say how narrow a posterior is. */
const NEAR = 7;

/**
 * @template T
 * @param {Generator<void, T, void>} work
 * @returns {T}
 */
export function finish(work) {
  for (;;) {
    const { done, value } = work.next();
    if (done) return value;
  }
}

/**
 * The K-sample bound, log 1/K Σ_k w_k.
 * @param {ArrayLike<number>} logWeights
 * @returns {number}
 */
export function kSampleBound(logWeights) {
  return logSumExp(logWeights) - Math.log(logWeights.length);
}

/**
 * An even grid over an interval or a rectangle.
 * @typedef {object} Grid
 * @property {number} d 1 or 2 axes.
 * @property {number} points Along each axis.
 * @property {number[]} lows
 * @property {number[]} steps
 * @property {Float64Array} z points^d × d; the last axis runs fastest.
 * @property {number} logCell
 */

/**
 * @param {number[]} lows
 * @param {number[]} highs
 * @param {number} points
 * @returns {Grid}
 */
export function latentGrid(lows, highs, points) {
  const d = lows.length;
  const steps = lows.map((low, j) => ((highs[j] ?? low) - low) / (points - 1));
  const count = points ** d;
  const z = new Float64Array(count * d);
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < d; j++) {
      const place = j === d - 1 ? i % points : Math.floor(i / points);
      z[i * d + j] = (lows[j] ?? 0) + place * (steps[j] ?? 0);
    }
  }
  const logCell = steps.reduce((sum, step) => sum + Math.log(step), 0);
  return { d, points, lows, steps, z, logCell };
}

/**
 * What the bounds need to know of a model. A map takes rows of z_i, and gives rows of the mean of
 * what is below, for all but x itself with log σ² beside it.
 * @typedef {object} Generative
 * @property {((z: Float64Array) => Float64Array)[]} decoders p(x | z_1), p(z_1 | z_2), …
 * @property {number} logvar log σ² of p(x | z_1).
 * @property {number} units 1 or 2, the same at each level.
 */

/**
 * A model on a grid of z_1: what is the same for every x.
 * @typedef {object} OnGrid
 * @property {Grid} grid
 * @property {Float64Array} logPrior log p(z_1) at each point.
 * @property {Float64Array} mean Of p(x | z_1), at each point.
 * @property {number} logvar
 * @property {Float64Array} ratios Step over the standard deviation of the posterior, locally.
 * @property {number} inner The largest such ratio of the levels above; 0 if there are none. Where
 *   the grid is too coarse for them, nothing else is computed.
 */

/**
 * Put a model on a grid: p(z_L), then p(z_{L−1}) = Σ p(z_{L−1} | z_L) p(z_L) cell, down to z_1.
 * Each level has its own rectangle, around what the level above makes likely.
 * @param {Generative} model
 * @param {{ points: number, bound?: number }} options
 * @returns {Generator<void, OnGrid, void>}
 */
export function* onGrid({ decoders, logvar, units }, { points, bound = 6 }) {
  const edge = Array.from({ length: units }, () => bound);
  let grid = latentGrid(
    edge.map((b) => -b),
    edge,
    points,
  );
  /** @type {Float64Array} */
  let logPrior = Float64Array.from({ length: grid.z.length / units }, (_, i) => {
    let square = 0;
    for (let j = i * units; j < (i + 1) * units; j++) square += at(grid.z, j) ** 2;
    return -0.5 * (square + units * LOG_TWO_PI);
  });
  let inner = 0;
  // Only the prior is known to have scale 1; how wide an inner p(z_i) is, `inner` has to watch.
  let own = 1;
  for (const decoder of decoders.slice(1).reverse()) {
    const out = yield* inPieces(decoder, grid);
    const ratios = localRatios(grid, out, { units, own });
    const likely = nearest(logPrior);
    inner = Math.max(inner, largest(ratios, likely));
    const next = around(out, likely, units, points);
    inner = Math.max(inner, finest(out, likely, next));
    if (inner > COARSEST) {
      const nothing = new Float64Array();
      return { grid, logPrior: nothing, mean: nothing, logvar, ratios: nothing, inner };
    }
    logPrior = yield* pushed(grid, logPrior, out, next);
    grid = next;
    own = 0;
  }
  const decoder = /** @type {Generative["decoders"][number]} */ (decoders[0]);
  const mean = yield* inPieces(decoder, grid);
  const ratios = localRatios(grid, mean, { logvar, own });
  return { grid, logPrior, mean, logvar, ratios, inner };
}

/**
 * One x on the grid: log p(x, z) into `logJoint`, and its sum. `logMarginal` is null where the grid
 * cannot hold the posterior: `reason` says why, in words to go after "because".
 * @typedef {object} Integral
 * @property {number | null} logMarginal log p(x), in nats.
 * @property {number} ratio The grid's step over the posterior's least standard deviation.
 * @property {string} reason Empty where there is a value.
 */

/**
 * @param {number} ratio
 * @returns {string}
 */
export function coarse(ratio) {
  return `the grid's step is ${ratio.toPrecision(2)} times the least standard deviation`;
}

/**
 * @param {OnGrid} model
 * @param {ArrayLike<number>} x One point.
 * @param {Float64Array} logJoint As long as the grid; on return log p(x, z).
 * @returns {Integral}
 */
export function integrate({ grid, logPrior, mean, logvar, ratios, inner }, x, logJoint) {
  if (inner > COARSEST) return { logMarginal: null, ratio: inner, reason: coarse(inner) };
  const size = x.length;
  const precision = Math.exp(-logvar);
  const constant = -0.5 * size * (logvar + LOG_TWO_PI);
  let highest = -Infinity;
  for (let i = 0; i < logJoint.length; i++) {
    let square = 0;
    for (let j = 0; j < size; j++) {
      const error = (x[j] ?? 0) - at(mean, i * size + j);
      square += error * error;
    }
    const log = at(logPrior, i) - 0.5 * precision * square + constant;
    logJoint[i] = log;
    if (log > highest) highest = log;
  }
  let sum = 0;
  let outside = 0;
  let ratio = inner;
  const last = grid.points - 1;
  for (let i = 0; i < logJoint.length; i++) {
    const log = at(logJoint, i) - highest;
    // Together these are nothing beside the sum, and their exponentials would take the time.
    if (log < -45) continue;
    const part = Math.exp(log);
    sum += part;
    const column = i % grid.points;
    const row = grid.d === 1 ? column : Math.floor(i / grid.points);
    if (column === 0 || column === last || row === 0 || row === last) outside += part;
    if (log > -NEAR && at(ratios, i) > ratio) ratio = at(ratios, i);
  }
  const logMarginal = highest + Math.log(sum) + grid.logCell;
  if (!(ratio <= COARSEST)) return { logMarginal: null, ratio, reason: coarse(ratio) };
  if (!(outside <= EDGE * sum)) {
    return { logMarginal: null, ratio, reason: "the posterior reaches the edge of the grid" };
  }
  return { logMarginal, ratio, reason: "" };
}

/**
 * log p(x) of each row.
 * @param {OnGrid} model
 * @param {Float64Array} x B × size
 * @param {number} [size]
 * @returns {Generator<void, Integral[], void>}
 */
export function* logMarginals(model, x, size = 2) {
  const logJoint = new Float64Array(model.logPrior.length);
  const found = [];
  for (let b = 0; b < x.length; b += size) {
    found.push(integrate(model, x.subarray(b, b + size), logJoint));
    yield;
  }
  return found;
}

/**
 * The ELBO of q = N(μ, diag σ²) with one level, without noise: the grid is that of ε in
 * z = μ + σ ε, so it follows q. The rate is in closed form.
 * @param {Generative} model
 * @param {Float64Array} q For each row μ and log σ² side by side, as an encoder gives them.
 * @param {Float64Array} x
 * @param {{ points?: number, bound?: number }} [options]
 * @returns {Generator<void, { reconstruction: Float64Array, rate: Float64Array }, void>}
 */
export function* elboOnGrid({ decoders, logvar, units }, q, x, { points = 27, bound = 6.5 } = {}) {
  const edge = Array.from({ length: units }, () => bound);
  const grid = latentGrid(
    edge.map((b) => -b),
    edge,
    points,
  );
  const count = grid.z.length / units;
  const weights = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    let log = grid.logCell - 0.5 * units * LOG_TWO_PI;
    for (let j = i * units; j < (i + 1) * units; j++) log -= 0.5 * at(grid.z, j) ** 2;
    weights[i] = Math.exp(log);
  }
  const rows = q.length / (2 * units);
  const size = x.length / rows;
  const reconstruction = new Float64Array(rows);
  const rate = new Float64Array(rows);
  const z = new Float64Array(grid.z.length);
  const decoder = /** @type {Generative["decoders"][number]} */ (decoders[0]);
  for (let b = 0; b < rows; b++) {
    for (let j = 0; j < units; j++) {
      const centre = at(q, b * 2 * units + j);
      const log = at(q, b * 2 * units + units + j);
      const scale = Math.exp(0.5 * log);
      for (let i = j; i < z.length; i += units) z[i] = centre + scale * at(grid.z, i);
      rate[b] = at(rate, b) + gaussianKl(centre, log);
    }
    const mean = decoder(z);
    let square = 0;
    for (let i = 0; i < count; i++) {
      let own = 0;
      for (let j = 0; j < size; j++) own += (at(x, b * size + j) - at(mean, i * size + j)) ** 2;
      square += at(weights, i) * own;
    }
    reconstruction[b] = -0.5 * (square * Math.exp(-logvar) + size * (logvar + LOG_TWO_PI));
    yield;
  }
  return { reconstruction, rate };
}

/**
 * The aggregated posterior, log 1/N Σ_n q(z | x_n), at some points.
 * @param {Float64Array} q For each x_n μ and log σ² side by side.
 * @param {Float64Array} z Points, M × units.
 * @param {number} units
 * @returns {Generator<void, Float64Array, void>}
 */
export function* logAggregate(q, z, units) {
  const rows = q.length / (2 * units);
  const density = new Float64Array(z.length / units);
  const precisions = new Float64Array(rows * units);
  const heights = new Float64Array(rows);
  for (let n = 0; n < rows; n++) {
    let log = -0.5 * units * LOG_TWO_PI - Math.log(rows);
    for (let j = 0; j < units; j++) {
      const logvar = at(q, n * 2 * units + units + j);
      precisions[n * units + j] = 0.5 * Math.exp(-logvar);
      log -= 0.5 * logvar;
    }
    heights[n] = log;
  }
  for (let i = 0; i < density.length; i++) {
    let sum = 0;
    for (let n = 0; n < rows; n++) {
      let log = at(heights, n);
      for (let j = 0; j < units; j++) {
        const error = at(z, i * units + j) - at(q, n * 2 * units + j);
        log -= error * error * at(precisions, n * units + j);
      }
      if (log > -45) sum += Math.exp(log);
    }
    density[i] = Math.log(sum);
    if (i % 64 === 63) yield;
  }
  return density;
}

/**
 * Energy distance of two samples of points in the plane, 2 E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖,
 * unbiased: a point is never paired with itself.
 * @param {Float64Array} x N × 2
 * @param {Float64Array} y M × 2
 * @returns {Generator<void, number, void>}
 */
export function* energyDistance(x, y) {
  const [n, m] = [x.length / 2, y.length / 2];
  const between = yield* distances(x, y);
  const within = yield* distances(x, x);
  const others = yield* distances(y, y);
  return (2 * between) / (n * m) - within / (n * (n - 1)) - others / (m * (m - 1));
}

/**
 * @param {Float64Array} x
 * @param {Float64Array} y
 * @returns {Generator<void, number, void>}
 */
function* distances(x, y) {
  let sum = 0;
  for (let i = 0; i < x.length; i += 2) {
    const u = at(x, i);
    const v = at(x, i + 1);
    for (let j = 0; j < y.length; j += 2) {
      const du = u - at(y, j);
      const dv = v - at(y, j + 1);
      sum += Math.sqrt(du * du + dv * dv);
    }
    if (i % 200 === 198) yield;
  }
  return sum;
}

/**
 * A map at all points of a grid, some at a time.
 * @param {(z: Float64Array) => Float64Array} map
 * @param {Grid} grid
 * @returns {Generator<void, Float64Array, void>}
 */
function* inPieces(map, { z, d }) {
  const pieces = [];
  for (let from = 0; from < z.length; from += 1024 * d) {
    pieces.push(map(z.subarray(from, from + 1024 * d)));
    yield;
  }
  const all = new Float64Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let from = 0;
  for (const piece of pieces) {
    all.set(piece, from);
    from += piece.length;
  }
  return all;
}

/**
 * The grid's step over the posterior's standard deviation, at each point z, in the direction where
 * it is worst. The posterior's precision is taken to be the prior's, where that is known to be 1,
 * and the information of what is below about z: Σ_j (∂μ_j)² / σ_j² + ½ (∂ log σ_j²)².
 * @param {Grid} grid
 * @param {Float64Array} out Means, and with `units` the log σ² beside them.
 * @param {{ logvar?: number, units?: number, own: number }} of
 * @returns {Float64Array}
 */
function localRatios(grid, out, { logvar = 0, units = 0, own }) {
  const { d, points, steps } = grid;
  const count = points ** d;
  const width = out.length / count;
  const means = units || width;
  const ratios = new Float64Array(count);
  const strides = d === 1 ? [1] : [points, 1];
  const slopes = strides.map(() => new Float64Array(width));
  for (let i = 0; i < count; i++) {
    strides.forEach((stride, axis) => {
      const place = Math.floor(i / stride) % points;
      const before = place > 0 ? i - stride : i;
      const after = place < points - 1 ? i + stride : i;
      // Per step of the grid, so that the result is a ratio.
      const share = stride / (after - before);
      const slope = /** @type {Float64Array} */ (slopes[axis]);
      for (let j = 0; j < width; j++) {
        const change = share * (at(out, after * width + j) - at(out, before * width + j));
        const log = units ? at(out, i * width + units + (j % units)) : logvar;
        slope[j] = j < means ? change * Math.exp(-0.5 * log) : change * Math.SQRT1_2;
      }
    });
    const [first, second] = slopes;
    const a = dot(first, first) + own * (steps[0] ?? 0) ** 2;
    if (!second) {
      ratios[i] = Math.sqrt(a);
      continue;
    }
    const c = dot(second, second) + own * (steps[1] ?? 0) ** 2;
    const b = dot(first, second);
    ratios[i] = Math.sqrt((a + c) / 2 + Math.hypot((a - c) / 2, b));
  }
  return ratios;
}

/**
 * @param {Float64Array | undefined} a
 * @param {Float64Array | undefined} b
 * @returns {number}
 */
function dot(a, b) {
  let sum = 0;
  if (a && b) for (let i = 0; i < a.length; i++) sum += at(a, i) * at(b, i);
  return sum;
}

/**
 * The points of a grid where a density is not far from its highest value.
 * @param {Float64Array} logDensity
 * @returns {number[]}
 */
function nearest(logDensity) {
  const highest = logDensity.reduce((best, log) => Math.max(best, log), -Infinity);
  const found = [];
  for (let i = 0; i < logDensity.length; i++) if (at(logDensity, i) > highest - NEAR) found.push(i);
  return found;
}

/**
 * @param {Float64Array} values
 * @param {number[]} places
 * @returns {number}
 */
function largest(values, places) {
  return places.reduce((best, i) => Math.max(best, at(values, i)), 0);
}

/**
 * A grid around what is likely one level below: six and a half standard deviations on either side.
 * @param {Float64Array} out
 * @param {number[]} likely
 * @param {number} units
 * @param {number} points
 * @returns {Grid}
 */
function around(out, likely, units, points) {
  const lows = Array.from({ length: units }, () => Infinity);
  const highs = Array.from({ length: units }, () => -Infinity);
  for (const i of likely) {
    for (let j = 0; j < units; j++) {
      const mean = at(out, i * 2 * units + j);
      const reach = 6.5 * Math.exp(0.5 * at(out, i * 2 * units + units + j));
      lows[j] = Math.min(lows[j] ?? 0, mean - reach);
      highs[j] = Math.max(highs[j] ?? 0, mean + reach);
    }
  }
  return latentGrid(lows, highs, points);
}

/**
 * The largest ratio of a grid's step and the standard deviations of what is put on it.
 * @param {Float64Array} out
 * @param {number[]} likely
 * @param {Grid} grid
 * @returns {number}
 */
function finest(out, likely, { d, steps }) {
  let ratio = 0;
  for (const i of likely) {
    for (let j = 0; j < d; j++) {
      const scale = Math.exp(0.5 * at(out, i * 2 * d + d + j));
      ratio = Math.max(ratio, (steps[j] ?? 0) / scale);
    }
  }
  return ratio;
}

/**
 * log p(z_i) on its grid from log p(z_{i+1}) on its own: each point of the upper grid lays down its
 * Gaussian, as far as it reaches. The units of a Gaussian are independent, so it is a product.
 * @param {Grid} above
 * @param {Float64Array} logPrior
 * @param {Float64Array} out Means and log σ² of p(z_i | z_{i+1}).
 * @param {Grid} below
 * @returns {Generator<void, Float64Array, void>}
 */
function* pushed(above, logPrior, out, below) {
  const { d, points, lows, steps } = below;
  const density = new Float64Array(points ** d);
  const profiles = Array.from({ length: d }, () => new Float64Array(points));
  const froms = new Int32Array(2);
  const tos = new Int32Array(2);
  let work = 0;
  for (let i = 0; i < logPrior.length; i++) {
    const weight = Math.exp(at(logPrior, i) + above.logCell);
    if (weight === 0) continue;
    for (let j = 0; j < d; j++) {
      const mean = at(out, i * 2 * d + j);
      const logvar = at(out, i * 2 * d + d + j);
      const scale = Math.exp(0.5 * logvar);
      const low = lows[j] ?? 0;
      const step = steps[j] ?? 1;
      const from = Math.max(0, Math.ceil((mean - 9 * scale - low) / step));
      const to = Math.min(points - 1, Math.floor((mean + 9 * scale - low) / step));
      const profile = /** @type {Float64Array} */ (profiles[j]);
      const height = 1 / (scale * Math.sqrt(2 * Math.PI));
      for (let k = from; k <= to; k++) {
        const u = (low + k * step - mean) / scale;
        profile[k] = height * Math.exp(-0.5 * u * u);
      }
      froms[j] = from;
      tos[j] = to;
    }
    const first = /** @type {Float64Array} */ (profiles[0]);
    const second = profiles[1];
    for (let k = at(froms, 0); k <= at(tos, 0); k++) {
      const share = weight * at(first, k);
      if (!second) {
        density[k] = at(density, k) + share;
        continue;
      }
      const row = k * points;
      for (let l = at(froms, 1); l <= at(tos, 1); l++) {
        density[row + l] = at(density, row + l) + share * at(second, l);
      }
      work += at(tos, 1) - at(froms, 1);
    }
    work += 100;
    if (work > 1e6) {
      work = 0;
      yield;
    }
  }
  return density.map(Math.log);
}
