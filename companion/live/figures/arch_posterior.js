/**
 * The posterior of the arch: a data point in the plane, and which codes explain it.
 *
 * z ~ N(0, 1), x | z ~ N(μ(z), σ² I). The one code leaves every integral to a sum over a grid.
 * Draws from the prior fall beside the exact posterior: few of them matter for log p(x).
 */

import { figure } from "../figure.js";
import { density, logNormal } from "../gaussian.js";
import { named } from "../marks.js";
import { forward } from "../net.js";
import { clamp, last, linspace, logSumExp, sum } from "../numbers.js";
import { Plot, shown } from "../plot.js";
import { generator, normal } from "../random.js";

/** Draws from the prior. */
const DRAWS = 300;
/** The draws that make up this share of the sum are the ones that count. */
const SHARE = 0.9;
/** What counts as a peak: this share of the highest one. */
const LEAST_PEAK = 0.05;
/** Of x, as far as it can be dragged, and of the plane that is drawn. */
const REACH = /** @type {const} */ ({ x1: [-2, 2], x2: [-1.7, 2.3] });
const PLANE = /** @type {const} */ ({ x: [-2.6, 2.6], y: [-2.05, 2.75] });
const CELLS = 60;
/** Near a multiple of this x stands on it, so that (0, −1) can be met. */
const GRAIN = 0.05;

/** A grid of z on which every sum is taken, and the part of it that is drawn. */
const STEP = 0.02;
const MIDDLE = 350;
const zs = linspace(-MIDDLE * STEP, MIDDLE * STEP, 2 * MIDDLE + 1);
const [FIRST, LAST] = [MIDDLE - 200, MIDDLE + 200];
const axis = zs.slice(FIRST, LAST + 1);
const prior = zs.map(density(0, 1));

/**
 * @typedef {{z: number[], height: number[], path: [number, number][]}} Draws  of the prior: codes,
 *   places below its curve as shares of its height, and where the decoder puts the codes
 * @typedef {{curve: [number, number][], draws: (seed: number) => Draws,
 *   shade: (scale: number) => Float64Array}} Ready
 * @typedef {{z: number, height: number, mass: number}} Peak
 * @typedef {{logMarginal: number, posterior: number[], peaks: Peak[], z: number[],
 *   weights: number[], estimates: number[], heavy: number[], ofAll: number}} Values
 */

/**
 * log p(x | z) for each mean of the decoder.
 *
 * @param {number[]} x
 * @param {[number, number][]} means
 * @param {number} scale
 */
function logLikelihood([x1 = 0, x2 = 0], means, scale) {
  const norm = -2 * Math.log(scale) - Math.log(2 * Math.PI);
  return means.map(([m1, m2]) => norm - ((x1 - m1) ** 2 + (x2 - m2) ** 2) / (2 * scale ** 2));
}

/** @param {number} number */
const onGrain = (number) => {
  const grain = Math.round(number / GRAIN) * GRAIN;
  return Math.abs(number - grain) < GRAIN / 4 ? grain : number;
};

/**
 * The heaviest weights, as few as make up this share of the sum: their places.
 *
 * @param {number[]} weights
 */
function heaviest(weights) {
  const order = weights.map((_, i) => i).sort((i, j) => (weights[j] ?? 0) - (weights[i] ?? 0));
  let rest = SHARE * sum(weights);
  let number = 0;
  while (rest > 0 && number < order.length) rest -= weights[order[number++] ?? 0] ?? 0;
  return order.slice(0, number);
}

const carried = (/** @type {number} */ number) =>
  `${number} ${number === 1 ? "makes" : "make"} up 90 %`;

/**
 * Where a density on the grid has its peaks, and the mass of each up to the valleys beside it.
 *
 * @param {number[]} density
 */
function peaksOf(density) {
  const at = (/** @type {number} */ i) => density[i] ?? 0;
  const least = LEAST_PEAK * Math.max(...density);
  /** @type {Peak[]} */
  const found = [];
  let mass = 0;
  let open = true;
  for (let i = 0; i < density.length; i++) {
    mass += at(i) * STEP;
    if (open && at(i) >= least && at(i) >= at(i - 1) && at(i) > at(i + 1)) {
      found.push({ z: zs[i] ?? 0, height: at(i), mass: 0 });
      open = false;
    }
    // A valley after a peak: what was gathered belongs to that peak.
    const peak = found.at(-1);
    if (!open && peak && at(i) <= at(i - 1) && at(i) < at(i + 1)) {
      peak.mass += mass;
      mass = 0;
      open = true;
    }
  }
  const end = found.at(-1);
  if (end) end.mass += mass;
  return found;
}

/**
 * The density p(x) over the plane, row by row from the upper left: how dark it is drawn.
 *
 * @param {[number, number][]} curve
 * @param {number} scale
 */
function shading(curve, scale) {
  // exp(−|x − μ|² / 2σ²) is a product of one factor for each axis.
  const every = 5;
  const nodes = curve.filter((_, i) => i % every === 0);
  const factor = (/** @type {0 | 1} */ k, /** @type {number} */ x) =>
    Float64Array.from(nodes, (mean) => Math.exp(-((x - mean[k]) ** 2) / (2 * scale ** 2)));
  const middle = (/** @type {readonly [number, number]} */ [low, high], /** @type {number} */ i) =>
    low + ((i + 0.5) * (high - low)) / CELLS;
  const columns = Array.from({ length: CELLS }, (_, i) => factor(0, middle(PLANE.x, i)));
  const rows = Array.from({ length: CELLS }, (_, i) => factor(1, middle(PLANE.y, CELLS - 1 - i)));
  for (const row of rows) {
    for (let k = 0; k < row.length; k++) row[k] = (row[k] ?? 0) * (prior[k * every] ?? 0);
  }
  const cells = new Float64Array(CELLS * CELLS);
  let top = 0;
  rows.forEach((row, i) => {
    columns.forEach((column, j) => {
      let cell = 0;
      for (let k = 0; k < row.length; k++) cell += (row[k] ?? 0) * (column[k] ?? 0);
      cells[i * CELLS + j] = cell;
      top = Math.max(top, cell);
    });
  });
  return cells.map((cell) => (0.34 * cell) / top);
}

export default figure({
  start: { x: [-0.75, 0.3], scale: 0.4, drawn: DRAWS, seed: 0 },
  limits: { x: [-2, 2.3], drawn: [0, DRAWS], seed: [0, 9999] },

  prepare({ decoder }) {
    const decode = (/** @type {number} */ z) =>
      /** @type {[number, number]} */ ([...forward(decoder, [z])]);
    const draws = last((/** @type {number} */ seed) => {
      const uniform = generator(seed);
      const z = Array.from({ length: DRAWS }, normal(uniform));
      return { z, height: z.map(uniform), path: z.map(decode) };
    });
    const curve = zs.map(decode);
    return { curve, draws, shade: last((/** @type {number} */ scale) => shading(curve, scale)) };
  },

  compute({ x, scale, drawn, seed }, /** @type {Ready} */ { curve, draws }) {
    const count = Math.round(drawn);
    const logPrior = (/** @type {number} */ i) => logNormal(zs[i] ?? 0, 0, 1);
    const logJoint = logLikelihood(x, curve, scale).map((value, i) => value + logPrior(i));
    const logMarginal = logSumExp(logJoint) + Math.log(STEP);
    const posterior = logJoint.map((value) => Math.exp(value - logMarginal));

    // p̂(x) is the average of w = p(x | z) over draws z of the prior.
    const { z, path } = draws(Math.round(seed));
    const logWeights = logLikelihood(x, path, scale);
    const top = Math.max(...logWeights);
    const weights = logWeights.map((value) => Math.exp(value - top));
    let total = 0;
    const estimates = weights.map((weight, i) => top + Math.log((total += weight) / (i + 1)));
    return {
      logMarginal,
      posterior,
      peaks: peaksOf(posterior),
      z,
      weights,
      estimates: estimates.slice(0, count),
      heavy: heaviest(weights.slice(0, count)),
      ofAll: heaviest(weights).length,
    };
  },

  draw({ x, scale, seed }, values, /** @type {Ready} */ { curve, draws, shade }, { guessing }) {
    return [
      plane(x, scale, values.posterior, curve, shade(scale)),
      codes(scale, values, draws(Math.round(seed)).height, guessing),
      course(values),
    ];
  },

  says({ x, drawn }, /** @type {Values} */ { logMarginal, peaks, estimates, heavy }, { guessing }) {
    const at = peaks.map(({ z }) => shown(z));
    const several = `${at.length === 2 ? "Two" : "Three"} codes explain x: `;
    const which =
      at.length > 1
        ? `${several}${at.slice(0, -1).join(", ")} and ${at.at(-1)}`
        : `One peak, at z = ${at[0]}`;
    const place = `x = (${x.map((/** @type {number} */ one) => shown(one)).join(", ")}). `;
    const truth = `${place}${which}; log p(x) = ${shown(logMarginal)}`;
    const last = estimates.at(-1);
    if (guessing || last === undefined) return truth;
    return `${truth}, from ${Math.round(drawn)} draws ${shown(last)} (${carried(heavy.length)})`;
  },

  controls: [{ kind: "slider", name: "scale", label: "noise σ", min: 0.1, max: 0.8, log: true }],
  handles: [
    {
      label: "The data point x",
      role: "ink",
      at: ({ x }) => x,
      move: (_, [x1, x2]) => ({
        x: [onGrain(clamp(x1, REACH.x1)), onGrain(clamp(x2, REACH.x2))],
      }),
    },
  ],
  play: {
    label: "Draw from the prior",
    step: ({ drawn }) => (drawn < DRAWS ? { drawn: drawn + 2 } : null),
    again: ({ seed }) => ({ drawn: 0, seed: (seed + 1) % 9999 }),
  },
  guess: {
    kind: "number",
    question:
      "Add up p(x | z) over 300 draws of z from the prior: divided by 300, the sum estimates p(x). " +
      "How many of the draws make up 90 % of it, for the x you see?",
    label: "draws",
    min: 1,
    max: 300,
    start: 100,
    digits: 0,
    truth: (_, { ofAll }) => ofAll,
  },
});

/**
 * The plane of x: the arch, what p(x) holds, and what of the arch explains x.
 *
 * @param {[number, number]} x
 * @param {number} scale
 * @param {number[]} posterior
 * @param {[number, number][]} curve
 * @param {Float64Array} shade
 */
function plane(x, scale, posterior, curve, shade) {
  const plot = new Plot({
    x: [...PLANE.x],
    y: [...PLANE.y],
    width: 330,
    height: 298,
    equal: true,
    xlabel: "x₁",
    ylabel: "x₂",
    ticks: [5, 5],
    title: " ",
    alt:
      "The plane of x: the arch along which the decoder's mean runs, the density p(x) as shading, " +
      "the data point x with rings of one and two σ, and on the arch the places of the posterior.",
  });
  plot.pixels(shade, CELLS, { x: [...PLANE.x], y: [...PLANE.y], smooth: true });
  const places = curve.slice(FIRST, LAST + 1);
  const both = (/** @type {[number, number][]} */ some) =>
    /** @type {[number[], number[]]} */ ([some.map(([m]) => m), some.map(([, m]) => m)]);
  plot.line(...both(places), "model", { width: 1.5 });
  // The denser the posterior, the broader.
  const highest = Math.max(...posterior);
  const levels = posterior.slice(FIRST, LAST + 1).map((one) => Math.round((12 * one) / highest));
  for (let level = 1; level <= 12; level++) {
    const held = places.filter((_, i) => levels[i] === level);
    plot.points(...both(held), "posterior", { size: 1.5 + 0.8 * level });
  }
  for (const [times, width] of /** @type {const} */ ([
    [1, 1.5],
    [2, 1],
  ])) {
    plot.ellipse(x, [times * scale, 0], [0, times * scale], "ink", { width, dash: "3 3" });
  }
  named(plot, [
    ["arch μ(z)", "model"],
    ["grey: p(x)", "prior"],
    ["rings: 1σ, 2σ", "ink"],
  ]);
  return plot.text(...x, "x", { dx: 12, dy: -8, bold: true });
}

/**
 * Along z: above zero the posterior, below it the prior with its draws, each on its own scale.
 *
 * @param {number} scale
 * @param {Values} values
 * @param {number[]} height  of the draws
 * @param {boolean} guessing
 */
function codes(scale, { posterior, peaks, z, weights, estimates, heavy }, height, guessing) {
  // No posterior is higher than 0.87 / σ.
  const tall = 0.92 / scale;
  const deep = 0.5 * tall;
  const count = estimates.length;
  const plot = new Plot({
    x: [-4, 4],
    y: [-1.08 * deep, tall],
    width: 330,
    height: 298,
    xlabel: "latent z",
    ticks: [6, 0],
    title: " ",
    alt:
      "Along z: upwards the exact posterior density, downwards the prior with draws from it; the " +
      "draws that weigh much are large.",
  });
  const down = (/** @type {number} */ share) => (-deep * share) / (prior[MIDDLE] ?? 1);
  const above = posterior.slice(FIRST, LAST + 1);
  const below = prior.slice(FIRST, LAST + 1).map(down);
  plot
    .area(axis, below, "prior", { opacity: 0.13 })
    .line(axis, below, "prior", { width: 1.5 })
    .area(axis, above, "posterior", { opacity: 0.2 })
    .line(axis, above, "posterior", { width: 2.5 })
    .rule({ y: 0 }, "ink", { width: 1, opacity: 0.6 });
  // The more a draw weighs, the larger.
  const bounds = [0.02, 0.2, 0.4, 0.6, 0.8, 1];
  const counted = new Set(guessing ? [] : heavy);
  const kinds = z.map((_, i) =>
    guessing ? 0 : bounds.findIndex((most) => (weights[i] ?? 0) <= most),
  );
  for (const role of /** @type {const} */ (["prior", "gap"])) {
    bounds.forEach((most, kind) => {
      const own = kinds.flatMap((one, i) =>
        one === kind && i < count && counted.has(i) === (role === "gap") ? [i] : [],
      );
      const across = own.map((i) => z[i] ?? 0);
      const up = own.map((i, k) => down((height[i] ?? 0) * density(0, 1)(across[k] ?? 0)));
      const size = 2.5 + (kind || role === "gap" ? 6 * Math.sqrt(most) : 0);
      plot.points(across, up, role, { size, opacity: role === "gap" ? 1 : 0.55 });
    });
  }
  named(plot, [
    ["posterior p(z | x)", "posterior"],
    ["prior p(z), below", "prior"],
  ]);
  plot.text(-3.9, -deep, `${count} draws`, { role: "prior", dy: -2 });
  if (count && !guessing) {
    plot.text(3.95, -deep, carried(heavy.length), {
      role: "gap",
      anchor: "end",
      dy: -2,
      bold: true,
    });
  }
  if (peaks.length === 1) return plot;
  peaks.forEach(({ z: at, height: tip, mass }, i) => {
    // Outwards, so that two numbers never meet.
    const side = i === 0 ? -1 : i === peaks.length - 1 ? 1 : 0;
    const anchor = side < 0 ? "end" : side ? "start" : "middle";
    plot.text(at, Math.min(tip, 0.92 * tall), `${shown(100 * mass, 0)} %`, {
      role: "posterior",
      anchor,
      dx: 3 * side,
      dy: -4,
      bold: true,
    });
  });
  return plot;
}

/**
 * The estimate while draws come in.
 *
 * @param {Values} values
 */
function course({ estimates, logMarginal }) {
  const plot = new Plot({
    x: [0, DRAWS],
    y: [-1.5, 1.5],
    width: 400,
    height: 128,
    xlabel: "draws K",
    ylabel: "nats",
    title: "estimate of log p(x), less the truth",
    ticks: [4, 3],
    alt:
      "The average over the first K draws as an estimate of log p(x), less the true value: it " +
      "jumps at each draw that counts.",
  });
  plot.rule({ y: 0 }, "ink", { dash: "5 4" });
  const errors = estimates.map((one) => one - logMarginal);
  plot.line(
    errors.map((_, i) => i + 1),
    errors,
    "gap",
    { width: 2 },
  );
  const last = errors.at(-1) ?? 0;
  if (last > -1.5) return plot;
  return plot.text(DRAWS, -1.5, `off by ${shown(last)}`, { role: "gap", anchor: "end", dy: -6 });
}
