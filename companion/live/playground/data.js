// @ts-check
// Points in the plane to learn from: the package's data sets, and what the reader draws.
//
// The laws are those of `companion.data` and `companion.exact.arch`, and so is their scale: moons,
// pinwheel and rings have mean 0 and variance 1 in each coordinate, tree and arch are what they
// are. Single points differ, because the random numbers do.

import { at } from "../nn.js";
import { generator, normal } from "../random.js";

/** @typedef {"moons" | "arch" | "pinwheel" | "tree" | "rings"} Name */
/** @typedef {{ uniform: () => number, gauss: () => number, noise: number }} Chance */

/** The spread around the figures, where the reader sets none. */
const NOISE = { moons: 0.08, arch: 0.4, pinwheel: 0.3, tree: 0.05, rings: 0.06 };

/** The tree: children of each node, and how often. */
export const CHILDREN = 3;
export const DEPTH = 3;

export const DATA_NAMES = /** @type {Name[]} */ (Object.keys(NOISE));

/**
 * Return points of a data set, one row each.
 * @param {Name} name
 * @param {number} count
 * @param {{ seed?: number, noise?: number }} [options]
 * @returns {Float64Array} count × 2
 */
export function dataSet(name, count, { seed = 0, noise = NOISE[name] } = {}) {
  const uniform = generator(seed);
  const chance = { uniform, gauss: normal(uniform), noise };
  const points = Float64Array.from({ length: count * 2 });
  for (let i = 0; i < count; i++) points.set(DRAW[name](chance, i / count), 2 * i);
  shuffle(points, uniform);
  return name === "tree" || name === "arch" ? points : standardise(points);
}

/**
 * Return points around those that the reader drew: each is one of them, moved by a Gaussian step
 * of standard deviation `jitter`. They stay where they were drawn: nothing is standardised.
 * @param {ArrayLike<number>} clicks Pairs of coordinates.
 * @param {number} count
 * @param {{ seed?: number, jitter?: number }} [options]
 * @returns {Float64Array} count × 2
 */
export function drawnSet(clicks, count, { seed = 0, jitter = 0.08 } = {}) {
  if (clicks.length < 2) throw new Error("Draw at least one point");
  const uniform = generator(seed);
  const gauss = normal(uniform);
  const points = new Float64Array(count * 2);
  for (let i = 0; i < count; i++) {
    const from = i % (clicks.length / 2);
    for (let j = 0; j < 2; j++) points[2 * i + j] = (clicks[2 * from + j] ?? 0) + jitter * gauss();
  }
  shuffle(points, uniform);
  return points;
}

/**
 * How one point is drawn; `share` runs evenly from 0 to 1 over the points.
 * @type {Record<Name, (chance: Chance, share: number) => [number, number]>}
 */
const DRAW = {
  moons({ gauss, noise }, share) {
    const lower = share >= 0.5;
    const angle = Math.PI * (lower ? 2 * share - 1 : 2 * share);
    const x = lower ? 1 - Math.cos(angle) : Math.cos(angle);
    const y = lower ? 0.5 - Math.sin(angle) : Math.sin(angle);
    return [x + noise * gauss(), y + noise * gauss()];
  },
  arch({ gauss, noise }) {
    const z = gauss();
    const height = 1.5 * (Math.tanh(z + 1.2) - Math.tanh(z - 1.2)) - 1;
    return [1.2 * Math.tanh(z) + noise * gauss(), height + noise * gauss()];
  },
  pinwheel({ uniform, gauss, noise }) {
    const radius = 1 + noise * gauss();
    const across = (noise / 6) * gauss();
    const angle = (2 * Math.PI * Math.floor(5 * uniform())) / 5 + 0.25 * Math.exp(radius);
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
    return [radius * cos - across * sin, radius * sin + across * cos];
  },
  tree({ uniform, gauss, noise }) {
    const leaf = Array.from({ length: DEPTH }, () => Math.floor(CHILDREN * uniform()));
    const [x, y] = node(leaf);
    return [x + noise * gauss(), y + noise * gauss()];
  },
  rings({ uniform, gauss, noise }, share) {
    const radius = share < 0.5 ? 1 : 0.45;
    const angle = 2 * Math.PI * uniform();
    return [radius * Math.cos(angle) + noise * gauss(), radius * Math.sin(angle) + noise * gauss()];
  },
};

/**
 * Where a node of the tree stands; the radius leaves room between siblings.
 * @param {number[]} path Which child at each depth.
 * @returns {[number, number]}
 */
export function node(path) {
  const reach = (4 / Math.sqrt(27)) * Math.sin(Math.PI / CHILDREN);
  const ratio = reach / (1 + reach);
  let [x, y] = [0, 0];
  path.forEach((child, depth) => {
    const angle = Math.PI / 2 + ((2 * Math.PI) / CHILDREN) * (child + depth / 2);
    x += 2 * ratio ** depth * Math.cos(angle);
    y += 2 * ratio ** depth * Math.sin(angle);
  });
  return [x, y];
}

/**
 * Put the points into an order of chance, in place.
 * @param {Float64Array} points
 * @param {() => number} uniform
 */
function shuffle(points, uniform) {
  for (let i = points.length / 2 - 1; i > 0; i--) {
    const other = Math.floor((i + 1) * uniform());
    for (let j = 0; j < 2; j++) {
      const kept = at(points, 2 * i + j);
      points[2 * i + j] = at(points, 2 * other + j);
      points[2 * other + j] = kept;
    }
  }
}

/**
 * @param {Float64Array} points
 * @returns {Float64Array}
 */
function standardise(points) {
  const count = points.length / 2;
  for (let j = 0; j < 2; j++) {
    let mean = 0;
    let square = 0;
    for (let i = j; i < points.length; i += 2) mean += at(points, i) / count;
    for (let i = j; i < points.length; i += 2) square += (at(points, i) - mean) ** 2 / count;
    const scale = Math.sqrt(square);
    for (let i = j; i < points.length; i += 2) points[i] = (at(points, i) - mean) / scale;
  }
  return points;
}
