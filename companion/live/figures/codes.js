/**
 * One code in two planes: what an autoencoder's decoder makes of it, and a VAE's.
 *
 * Each plane is a window that holds all of the model's digits. An autoencoder does not care how its codes are
 * moved and stretched as long as its decoder undoes it; so they can be given mean 0 and covariance
 * I, z ↦ m + L z before the decoder, and then random codes go where codes are.
 */

import { nearest, picked, scattered } from "../digits.js";
import { figure } from "../figure.js";
import { forward } from "../net.js";
import { along, clamp, sum } from "../numbers.js";
import { Plot, shown } from "../plot.js";

/** Half the side of a window on its panel. */
const LIMIT = 4;
const RANDOM = 400;
/** A kind of digit comes up often if this share of the random codes turn into it. */
const OFTEN = 0.05;

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
 * How many kinds of digit come up often.
 *
 * @param {number[]} counts
 */
function often(counts) {
  const least = Math.max(OFTEN * sum(counts), 1);
  return counts.filter((count) => count >= least).length;
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
 * @param {string} title
 * @param {Space} space
 * @param {any} state
 * @param {any} values
 * @param {any} data
 * @param {boolean} hidden  whether the counts are still a question
 */
function panel(title, space, state, { planes }, data, hidden) {
  const { decoded, index, distance, counts } = planes[space === "vae" ? 1 : 0];
  const plot = new Plot({
    x: [-4.15, 9.05],
    y: [-6.95, 4.15],
    width: 335,
    height: 304,
    title,
    bare: true,
    equal: true,
    alt:
      `${title}: the plane of codes with digits at their codes; beside it the decoded picture ` +
      "and the nearest training digit, below it how often each kind of digit came up.",
  });
  const { on, half } = data.windows[space];
  /** @type {import("../plot.js").Range} */
  const side = [-LIMIT, LIMIT];
  plot.pixels(data.ground[space], data.columns, { x: side, y: side, smooth: true });
  plot.rim(side, side);
  const radius = (2 * LIMIT) / half;
  plot.ellipse(on([0, 0]), [radius, 0], [0, radius], "prior", { width: 2, dash: "5 3" });
  /** @type {[number, number][]} */
  const drawn = data.draws.slice(0, state.drawn).map(on);
  const far = drawn.map((_, i) => Boolean(data.nothing[space][i]));
  for (const nothing of [false, true]) {
    const some = drawn.filter(([x, y], i) => far[i] === nothing && inside(x) && inside(y));
    plot.points(
      some.map(([x]) => x),
      some.map(([, y]) => y),
      nothing ? "gap" : "prior",
      { size: nothing ? 6 : half > 8 ? 2 : 3.5, opacity: nothing ? 1 : 0.55 },
    );
  }
  const [x, y] = on(state.z);
  const [near, high] = on(data.code(space, index));
  if (inside(near) && inside(high) && inside(x) && inside(y)) {
    plot.line([x, near], [y, high], "other", { width: 1.5 });
    plot.points([near], [high], "other", { size: 7 });
  }
  if (!(inside(x) && inside(y))) {
    plot.text(0, -3.7, "the code is farther out", { anchor: "middle", role: "gap" });
  }

  plot.text(4.6, 3.65, "decoded");
  plot.pixels(decoded, 8, { x: [4.6, 9], y: [-1, 3.4] });
  plot.rim([4.6, 9], [-1, 3.4]);
  const lost = distance > data.far;
  plot.text(4.6, -1.62, lost ? "far from all" : "nearest digit", {
    role: lost ? "gap" : "ink",
    bold: lost,
  });
  plot.pixels(picked(data.pictures, index), 8, { x: [4.6, 6.75], y: [-4, -1.85], role: "other" });
  plot.rim([4.6, 6.75], [-4, -1.85]);
  plot.text(7, -2.4, `a ${data.labels[index]}`);

  const most = Math.max(...counts, 1);
  for (let kind = 0; kind < 10; kind++) {
    const x = -3.6 + 0.8 * kind;
    plot.text(x, -6.85, kind, { anchor: "middle" });
    if (!hidden) plot.box([x - 0.3, x + 0.3], [-6.2, -6.2 + (1.6 * counts[kind]) / most], "model");
  }
  plot.line([-4, 4], [-6.2, -6.2], "ink", { width: 1, opacity: 0.5 });
  plot.text(4.6, -5.2, `${state.drawn} random codes`);
  if (hidden) return plot.text(0, -5.6, "guess first", { anchor: "middle" });
  if (state.drawn) {
    const level = -6.2 + (1.6 * OFTEN * state.drawn) / most;
    plot.line([-4, 4], [level, level], "ink", { width: 1.5, dash: "4 3" });
  }
  plot.text(4.6, -5.9, `${often(counts)} kinds ≥ 5 %`, { bold: true });
  const lostOnes = far.filter(Boolean).length;
  if (lostOnes) plot.text(4.6, -6.6, `${lostOnes} far from all`, { role: "gap", bold: true });
  return plot;
}

export default figure({
  start: { z: [1.7, -0.8], drawn: 60, plane: "ae" },
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

  compute({ z, drawn, plane }, data) {
    const planes = [plane, "vae"].map((space) => {
      const decoded = decoder(data, space)(z);
      const found = nearest(data.pictures, decoded);
      return {
        decoded,
        ...found,
        label: data.labels[found.index],
        counts: counted(data.kinds[space], drawn),
      };
    });
    return { planes };
  },

  draw: (state, values, data, { guessing }) => [
    panel("autoencoder", state.plane, state, values, data, guessing),
    panel("VAE", "vae", state, values, data, false),
  ],

  says(_, { planes }) {
    const [own, other] = planes.map(
      (/** @type {any} */ { label, distance }) => `a ${label} at distance ${shown(distance)}`,
    );
    return `Nearest digit: ${own} (autoencoder), ${other} (VAE)`;
  },

  handles: [0, 1].map((at) => {
    const window = (/** @type {any} */ { plane }, /** @type {any} */ { windows }) =>
      windows[at ? "vae" : plane];
    return {
      label: at ? "The code, in the VAE's plane" : "The code, in the autoencoder's plane",
      panel: at,
      role: /** @type {const} */ ("q"),
      at: (state, _, data) => {
        const [x, y] = window(state, data).on(state["z"]);
        return [clamp(x, [-LIMIT, LIMIT]), clamp(y, [-LIMIT, LIMIT])];
      },
      move: (state, to, data) => ({ z: window(state, data).off(to) }),
    };
  }),

  controls: [
    {
      kind: "choice",
      name: "plane",
      label: "Autoencoder",
      options: [
        ["ae", "as trained"],
        ["fitted", "stretched"],
      ],
    },
  ],

  play: {
    label: "Draw random codes",
    step: ({ drawn }, { random }) =>
      drawn < RANDOM ? { drawn: drawn + 1, z: [random[2 * drawn], random[2 * drawn + 1]] } : null,
    again: () => ({ drawn: 0 }),
  },

  guess: {
    kind: "number",
    question:
      `Of ${RANDOM} random codes, the VAE turns at least 5 % into each of the ten kinds of digit. ` +
      "How many of the ten kinds reach 5 % with the autoencoder?",
    label: "Kinds of digit",
    min: 0,
    max: 10,
    start: 7,
    digits: 0,
    truth: ({ plane }, _, data) => often(counted(data.kinds[plane], RANDOM)),
  },
});
