/**
 * One code and its picture: a point of the plane, and what a decoder makes of it.
 *
 * The plane is a window that holds all of the model's digits. An autoencoder does not care how its codes are
 * moved and stretched as long as its decoder undoes it; so they can be given mean 0 and covariance
 * I, z ↦ m + L z before the decoder, and then random codes go where codes are.
 */

import { nearest, picked, scattered } from "../digits.js";
import { figure } from "../figure.js";
import { forward } from "../net.js";
import { along, clamp } from "../numbers.js";
import { Plot, shown } from "../plot.js";

/** Half the side of a window on its panel. */
const LIMIT = 4;
const RANDOM = 400;

/**
 * @typedef {"ae" | "fitted" | "vae"} Space
 *
 * @param {any} data
 * @param {Space} space
 * @returns {(z: [number, number]) => Float64Array}
 */
function decoder(data, space) {
  if (space === "vae") return (z) => forward(data.vae, z);
  const { mean: m, stretch: L } = data;
  if (space === "ae") return (z) => forward(data.autoencoder, z);
  return ([a, b]) => forward(data.autoencoder, [m[0] + L[0] * a, m[1] + L[2] * a + L[3] * b]);
}

/**
 * The square around all codes, of a plane whose middle may be anywhere; else around zero.
 *
 * @param {Space} space
 * @param {[number, number][]} codes
 */
function around(space, codes) {
  const [xs, ys] = [codes.map(([x]) => x), codes.map(([, y]) => y)];
  if (space !== "ae")
    return { middle: [0, 0], half: 1.05 * Math.max(...[...xs, ...ys].map(Math.abs)) };
  const ends = [xs, ys].map((all) => [Math.min(...all), Math.max(...all)]);
  return {
    middle: ends.map(([low = 0, high = 0]) => (low + high) / 2),
    half: 0.54 * Math.max(...ends.map(([low = 0, high = 0]) => high - low)),
  };
}

/**
 * How often each kind of digit came up among the first random codes.
 *
 * @param {ArrayLike<number>} kinds
 * @param {number} number
 */
function counted(kinds, number) {
  const counts = new Array(10).fill(0);
  for (let i = 0; i < number; i++) counts[kinds[i] ?? 0] += 1;
  return counts;
}

const inside = (/** @type {number} */ place) => Math.abs(place) <= LIMIT;

/**
 * The plane: training digits at their codes, random codes, and the code that is dragged.
 *
 * @param {any} state
 * @param {any} values
 * @param {any} data
 */
function codes({ z, drawn, model }, { index, drawnFar }, data) {
  const plot = new Plot({
    x: [-4.15, 4.15],
    y: [-4.15, 4.15],
    width: 335,
    height: 335,
    title: "code",
    bare: true,
    equal: true,
    alt: "The plane of codes, with training digits at their codes and a dashed circle.",
  });
  const { on, half } = data.windows[model];
  /** @type {import("../plot.js").Range} */
  const side = [-LIMIT, LIMIT];
  plot.pixels(data.ground[model], data.columns, { x: side, y: side, smooth: true });
  plot.rim(side, side);
  const radius = (2 * LIMIT) / half;
  plot.ellipse(on([0, 0]), [radius, 0], [0, radius], "prior", { width: 2, dash: "5 3" });
  /** @type {[number, number][]} */
  const points = data.draws.slice(0, drawn).map(on);
  for (const far of [false, true]) {
    const some = points.filter(([x, y], i) => drawnFar[i] === far && inside(x) && inside(y));
    plot.points(
      some.map(([x]) => x),
      some.map(([, y]) => y),
      far ? "gap" : "prior",
      { size: far ? 6 : half > 8 ? 2 : 3.5, opacity: far ? 1 : 0.55 },
    );
  }
  const [x, y] = on(z);
  const [near, high] = on(data.code(model, index));
  if (inside(near) && inside(high) && inside(x) && inside(y)) {
    plot.line([x, near], [y, high], "other", { width: 1.5 });
    plot.points([near], [high], "other", { size: 7 });
  }
  if (!(inside(x) && inside(y))) {
    plot.text(0, -3.7, "the code is farther out", { anchor: "middle", role: "gap" });
  }
  return plot;
}

/**
 * The picture, the training digit nearest to it, and which kinds of digit random codes became.
 *
 * @param {any} state
 * @param {any} values
 * @param {any} data
 */
function picture({ drawn }, { decoded, index, distance, counts, drawnFar }, data) {
  const plot = new Plot({
    x: [-0.15, 8.15],
    y: [-0.15, 8.15],
    width: 335,
    height: 335,
    title: "picture",
    bare: true,
    equal: true,
    alt: "The decoded picture, the nearest training digit, and counts of kinds of digit.",
  });
  plot.pixels(decoded, 8, { x: [0, 4.9], y: [3.1, 8] });
  plot.rim([0, 4.9], [3.1, 8]);
  const lost = distance > data.far;
  plot.text(5.3, 7.6, "nearest digit,");
  plot.text(5.3, 7.05, `a ${data.labels[index]}`);
  plot.pixels(picked(data.pictures, index), 8, { x: [5.3, 8], y: [4.1, 6.8], role: "other" });
  plot.rim([5.3, 8], [4.1, 6.8]);
  if (lost) plot.text(5.3, 3.4, "far from all", { role: "gap", bold: true });

  const most = Math.max(...counts, 1);
  for (let kind = 0; kind < 10; kind++) {
    const x = 0.4 + 0.8 * kind;
    plot.text(x, 0.02, kind, { anchor: "middle" });
    plot.box([x - 0.3, x + 0.3], [0.55, 0.55 + (1.45 * counts[kind]) / most], "model");
  }
  plot.line([0, 8], [0.55, 0.55], "ink", { width: 1, opacity: 0.5 });
  plot.text(0, 2.35, drawn ? `digits from ${drawn} random codes` : "no random code yet");
  const lostOnes = drawnFar.filter(Boolean).length;
  if (lostOnes) {
    plot.text(8, 2.35, `${lostOnes} far from all`, { role: "gap", bold: true, anchor: "end" });
  }
  return plot;
}

export default figure({
  start: { z: [1.7, -0.8], drawn: 0, model: "ae" },
  limits: { z: [-30, 30], drawn: [0, RANDOM] },

  prepare(raw) {
    const { mean: m, stretch: L, codes } = raw;
    /** @type {(space: Space, n: number) => [number, number]} */
    const code = (space, n) => {
      const [a, b] = codes[space === "vae" ? "vae" : "ae"].subarray(2 * n, 2 * n + 2);
      if (space !== "fitted") return [a, b];
      const first = (a - m[0]) / L[0];
      return [first, (b - m[1] - L[2] * first) / L[3]];
    };
    const [xs, ys] = [along(raw.random, 0), along(raw.random, 1)];
    const columns = 256;
    /** @type {Record<string, Float32Array>} */
    const ground = {};
    /** @type {Record<string, any>} */
    const windows = {};
    for (const space of /** @type {Space[]} */ (["ae", "fitted", "vae"])) {
      const all = Array.from(raw.labels, (_, n) => code(space, n));
      const { middle, half } = around(space, all);
      const [a = 0, b = 0] = middle;
      /** @type {(z: [number, number]) => [number, number]} */
      const on = ([x, y]) => [(LIMIT * (x - a)) / half, (LIMIT * (y - b)) / half];
      /** @type {(place: [number, number]) => [number, number]} */
      const off = ([x, y]) => [
        a + (clamp(x, [-LIMIT, LIMIT]) * half) / LIMIT,
        b + (clamp(y, [-LIMIT, LIMIT]) * half) / LIMIT,
      ];
      windows[space] = { on, off, half };
      ground[space] = scattered(raw.pictures, (n) => on(code(space, n)), LIMIT, columns);
    }
    const draws = Array.from(xs, (x, i) => [x, ys[i] ?? 0]);
    return { ...raw, code, columns, ground, windows, draws };
  },

  compute({ z, drawn, model }, data) {
    const decoded = decoder(data, model)(z);
    const found = nearest(data.pictures, decoded);
    return {
      decoded,
      ...found,
      label: data.labels[found.index],
      counts: counted(data.kinds[model], drawn),
      drawnFar: Array.from(data.nothing[model].subarray(0, drawn), Boolean),
    };
  },

  draw: (state, values, data) => [codes(state, values, data), picture(state, values, data)],

  says: (_, { label, distance }) => `Nearest digit: a ${label}, at distance ${shown(distance)}`,

  handles: [
    {
      label: "The code",
      panel: 0,
      role: "q",
      at: ({ z, model }, _, { windows }) => {
        const [x, y] = windows[model].on(z);
        return [clamp(x, [-LIMIT, LIMIT]), clamp(y, [-LIMIT, LIMIT])];
      },
      move: ({ model }, to, { windows }) => ({ z: windows[model].off(to) }),
    },
  ],

  controls: [
    {
      kind: "choice",
      name: "model",
      label: "Network",
      options: [
        ["ae", "autoencoder"],
        ["fitted", "autoencoder, stretched"],
        ["vae", "VAE"],
      ],
    },
  ],

  play: {
    label: "Draw random codes",
    step: ({ drawn }, { random }) =>
      drawn < RANDOM ? { drawn: drawn + 1, z: [random[2 * drawn], random[2 * drawn + 1]] } : null,
    again: () => ({ drawn: 0 }),
  },
});
