/**
 * One code in two planes: what an autoencoder's decoder makes of it, and a VAE's.
 *
 * Both planes have the same axes, those of the code. An autoencoder does not care how its codes are
 * moved and stretched as long as its decoder undoes it; so they can be given mean 0 and covariance
 * I, z ↦ m + L z before the decoder, and then random codes go where codes are.
 */

import { nearest, picked, scattered } from "../digits.js";
import { figure } from "../figure.js";
import { forward } from "../net.js";
import { along } from "../numbers.js";
import { Plot, shown } from "../plot.js";

const LIMIT = 4;
const RANDOM = 400;
const OFTEN = RANDOM / 20;

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
  /** @type {import("../plot.js").Range} */
  const side = [-LIMIT, LIMIT];
  const square = { x: side, y: side };
  // A panel keeps its layers: where no holes are shown, there is a clear one.
  plot.pixels(state.holes ? data.fog[space] : data.clear, data.holes.side, {
    ...square,
    role: "gap",
    smooth: true,
  });
  plot.pixels(data.ground[space], data.columns, { ...square, smooth: true });
  plot.rim(side, side);
  plot.ellipse([0, 0], [2, 0], [0, 2], "prior", { width: 1.5, dash: "5 4" });
  const drawn = data.draws.first(state.drawn);
  plot.points(drawn.x, drawn.y, "prior", { size: 3.5, opacity: 0.55 });
  const [a, b] = state.z;
  const [near, far] = data.code(space, index);
  if (Math.max(Math.abs(near), Math.abs(far)) < LIMIT) {
    plot.line([a, near], [b, far], "other", { width: 1.5 });
    plot.points([near], [far], "other", { size: 7 });
  }

  plot.text(4.6, 3.65, "decoded");
  plot.pixels(decoded, 8, { x: [4.6, 9], y: [-1, 3.4] });
  plot.rim([4.6, 9], [-1, 3.4]);
  plot.text(4.6, -1.62, distance > data.far ? "nothing here" : "nearest digit", {
    role: distance > data.far ? "gap" : "ink",
    bold: distance > data.far,
  });
  plot.pixels(picked(data.pictures, index), 8, { x: [4.6, 6.75], y: [-4, -1.85], role: "other" });
  plot.rim([4.6, 6.75], [-4, -1.85]);
  plot
    .text(7, -2.4, `a ${data.labels[index]}`)
    .text(7, -3.1, "distance")
    .text(7, -3.75, shown(distance));

  const most = Math.max(...counts, 1);
  for (let kind = 0; kind < 10; kind++) {
    const x = -3.6 + 0.8 * kind;
    plot.text(x, -6.85, kind, { anchor: "middle" });
    if (!hidden) plot.box([x - 0.3, x + 0.3], [-6.2, -6.2 + (1.6 * counts[kind]) / most], "model");
  }
  plot.line([-4, 4], [-6.2, -6.2], "ink", { width: 1, opacity: 0.5 });
  if (hidden) plot.text(0, -5.6, "guess first", { anchor: "middle" });
  const kinds = counts.filter((/** @type {number} */ count) => count > 0).length;
  plot.text(4.6, -5.2, `${state.drawn} random codes`);
  if (!hidden) plot.text(4.6, -5.9, `${kinds} of 10 kinds`, { bold: true });
  return plot;
}

export default figure({
  start: { z: [1.7, -0.8], drawn: 60, plane: "ae", holes: false },
  limits: { z: [-LIMIT, LIMIT], drawn: [0, RANDOM] },

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
    /** @type {Record<string, Float32Array>} */
    const fog = {};
    for (const space of /** @type {Space[]} */ (["ae", "fitted", "vae"])) {
      ground[space] = scattered(raw.pictures, (n) => code(space, n), LIMIT, columns);
      fog[space] = Float32Array.from(raw.holes[space], (distance) =>
        distance / 64 > raw.far ? 0.45 : 0,
      );
    }
    const first = (/** @type {number} */ n) => ({ x: xs.subarray(0, n), y: ys.subarray(0, n) });
    const clear = new Float32Array(raw.holes.side ** 2);
    return { ...raw, code, columns, ground, fog, clear, draws: { first } };
  },

  compute({ z, drawn, plane }, data) {
    const planes = [plane, "vae"].map((space) => {
      const decoded = decoder(data, space)(z);
      const found = nearest(data.pictures, decoded);
      return { decoded, ...found, counts: counted(data.kinds[space], drawn) };
    });
    return { planes };
  },

  draw: (state, values, data, { guessing }) => [
    panel("autoencoder", state.plane, state, values, data, guessing),
    panel("VAE", "vae", state, values, data, false),
  ],

  says: ({ z }, { planes }) =>
    `code (${shown(z[0])}, ${shown(z[1])}): nearest digit at distance ` +
    `${shown(planes[0].distance)} (autoencoder), ${shown(planes[1].distance)} (VAE)`,

  handles: [0, 1].map((at) => ({
    label: at ? "The code, in the VAE's plane" : "The code, in the autoencoder's plane",
    panel: at,
    role: /** @type {const} */ ("q"),
    at: ({ z }) => z,
    move: (_, [a, b]) => ({ z: [a, b] }),
  })),

  controls: [
    {
      kind: "choice",
      name: "plane",
      label: "Autoencoder",
      options: [
        ["ae", "as trained"],
        ["fitted", "codes stretched"],
      ],
    },
    { kind: "toggle", name: "holes", label: "Show the holes" },
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
      `Of ${RANDOM} random codes, the VAE turns at least ${OFTEN} into each of the ten kinds of digit. ` +
      "How many of the ten kinds does the autoencoder show as often?",
    label: "Kinds of digit",
    min: 0,
    max: 10,
    start: 10,
    digits: 0,
    truth: ({ plane }, _, data) =>
      counted(data.kinds[plane], RANDOM).filter((count) => count >= OFTEN).length,
  },
});
