/**
 * The gap, and how far it can be closed: a Gaussian q, and a decoder that can be bent.
 *
 * z ~ N(0, 1), x | z ~ N(z + b z², σ²). The ELBO is a closed form, for a Gaussian's moments are known
 * up to the fourth. log p(x) and the gap are sums over a grid: so that the three fit together is seen,
 * not built in.
 */

import { figure } from "../figure.js";
import { density, klNormal, logNormal } from "../gaussian.js";
import { gaussianHandles } from "../handles.js";
import { clamp, logSumExp } from "../numbers.js";
import { Plot, shown, spaced } from "../plot.js";

/** @typedef {[number, number]} Pair  a mean and a standard deviation of q */

const FLOOR = -6;
const BEND = { at: -1.5 };
/** @type {Record<"mean" | "scale" | "bend" | "x", Pair>} */
const LIMITS = { mean: [-3, 2.5], scale: [0.15, 1.5], bend: [0, 1], x: [-1.5, 2.6] };

const CELL = 0.02;
const grid = Float64Array.from({ length: 1401 }, (_, i) => (i - 700) * CELL);

/** The plane of q's two numbers, as an image: its rows run from wide to narrow. */
const PLANE = { columns: 56, rows: 36 };
/** @type {Pair} */
const LOGS = [Math.log(LIMITS.scale[0]), Math.log(LIMITS.scale[1])];
const middles = (/** @type {Pair} */ [from, to], /** @type {number} */ parts) =>
  Array.from({ length: parts }, (_, i) => from + ((to - from) * (i + 0.5)) / parts);
const means = middles(LIMITS.mean, PLANE.columns);
const scales = middles([LOGS[1], LOGS[0]], PLANE.rows).map(Math.exp);

/**
 * The model that the state has bent, with the data point.
 *
 * @param {number} bend
 * @param {number} x
 * @param {number} noise  σ
 */
function model(bend, x, noise) {
  const mean = (/** @type {number} */ z) => z + bend * z * z;
  return {
    mean,
    /** log p(x, z) */
    logJoint: (/** @type {number} */ z) => logNormal(x, mean(z), noise) + logNormal(z, 0, 1),
    /**
     * E_q log p(x | z) − KL(q ‖ p(z)). With z = m + s ε the error x − μ(z) is a parabola in ε.
     *
     * @param {number} m
     * @param {number} s
     */
    elbo(m, s) {
      const slope = 1 + 2 * bend * m;
      const spread = slope ** 2 * s ** 2 + 2 * bend ** 2 * s ** 4;
      const centre = logNormal(x, m + bend * (m ** 2 + s ** 2), noise);
      return centre - spread / (2 * noise ** 2) - klNormal(m, s);
    },
    /**
     * A step of gradient ascent on the ELBO in m and log s, and whether there is any way to go.
     *
     * @param {Pair} q
     * @returns {Pair | null}
     */
    step([m, s]) {
      const slope = 1 + 2 * bend * m;
      const error = x - m - bend * (m ** 2 + s ** 2);
      const precision = noise ** -2;
      const up = precision * slope * (error - 2 * bend * s ** 2) - m;
      const wider =
        precision * s ** 2 * (2 * bend * error - slope ** 2 - 4 * bend ** 2 * s ** 2) - s ** 2 + 1;
      const length = Math.hypot(up, wider);
      const rate = 0.03 * Math.min(1, 3 / length);
      /** @type {Pair} */
      const next = [
        clamp(m + rate * up, LIMITS.mean),
        clamp(s * Math.exp(rate * wider), LIMITS.scale),
      ];
      return Math.hypot(next[0] - m, Math.log(next[1] / s)) < 3e-4 ? null : next;
    },
  };
}

/**
 * The way that gradient ascent takes.
 *
 * @param {ReturnType<typeof model>} bent
 * @param {Pair} from
 */
function way(bent, from) {
  const found = [from];
  for (let q = bent.step(from); q && found.length < 600; q = bent.step(q)) found.push(q);
  return found;
}

/**
 * The best Gaussian: the highest place of the plane, then finer and finer around it. A climb from
 * one start would find one of several peaks.
 *
 * @param {ReturnType<typeof model>} bent
 * @param {Float64Array} landscape
 */
function highest(bent, landscape) {
  const top = landscape.indexOf(Math.max(...landscape));
  let m = means[top % PLANE.columns] ?? 0;
  let s = scales[Math.floor(top / PLANE.columns)] ?? 1;
  let elbo = bent.elbo(m, s);
  for (let size = 0.05; size > 1e-5; size /= 2) {
    const [centre, width] = [m, s];
    for (let i = -2; i <= 2; i++) {
      for (let j = -2; j <= 2; j++) {
        const [near, wide] = [centre + i * size, width * Math.exp(j * size)];
        const value = bent.elbo(near, wide);
        if (value > elbo) [m, s, elbo] = [near, wide, value];
      }
    }
  }
  return { mean: m, scale: s, elbo };
}

export default figure({
  start: { mean: -0.5, scale: 0.7, bend: 0.75, x: 2, from: [-0.5, 0.7] },
  limits: { ...LIMITS, from: [-3, 2.5] },

  compute({ mean, scale, bend, x, from }, { scale: noise }) {
    const bent = model(bend, x, noise);
    const logJoint = grid.map(bent.logJoint);
    const logMarginal = logSumExp(logJoint) + Math.log(CELL);
    let gap = 0;
    logJoint.forEach((value, i) => {
      const logQ = logNormal(grid[i] ?? 0, mean, scale);
      gap += Math.exp(logQ) * (logQ - (value - logMarginal)) * CELL;
    });
    const landscape = Float64Array.from({ length: PLANE.columns * PLANE.rows }, (_, i) =>
      bent.elbo(means[i % PLANE.columns] ?? 0, scales[Math.floor(i / PLANE.columns)] ?? 1),
    );
    // A way that leads elsewhere is not the one that led here.
    const taken = way(bent, from);
    const here = taken.findIndex(
      ([m, s]) => Math.abs(m - mean) < 1e-3 && Math.abs(Math.log(s / scale)) < 1e-3,
    );
    return {
      elbo: bent.elbo(mean, scale),
      gap,
      logMarginal,
      best: highest(bent, landscape),
      landscape,
      taken: taken.slice(0, here + 1),
      ahead: way(bent, [mean, scale]),
    };
  },

  draw(
    { mean, scale, bend, x },
    { elbo, gap, logMarginal, best, landscape, taken, ahead },
    { scale: noise },
    { guessing },
  ) {
    const bent = model(bend, x, noise);
    const closed = gap < 0.005;
    const reached = best.elbo - elbo < 0.005;
    const left = new Plot({
      x: [-3.2, 3.2],
      y: [0, 1.55],
      width: 400,
      height: 210,
      xlabel: "latent z",
      ylabel: "density",
      ticks: [6, 0],
      alt: "The densities of the prior, of the exact posterior and of q over the latent z.",
    });
    left
      .curve(density(0, 1), "prior", { width: 1.5 })
      .curve((z) => Math.exp(bent.logJoint(z) - logMarginal), "posterior", { width: 2.5 })
      .curve(density(mean, scale), "q", { width: 2.5, fill: 0.25 })
      .text(-3.1, 1.42, "posterior p(z | x)", { role: "posterior" })
      .text(-3.1, 1.27, "q(z | x)", { role: "q", bold: true })
      .text(-3.1, 1.12, "prior p(z)", { role: "prior" });

    const bar = new Plot({
      x: [0, 3.1],
      y: [FLOOR, -0.7],
      width: 260,
      height: 210,
      ylabel: "nats",
      ticks: [0, 6],
      alt: "A bar: the ELBO below, the gap on top of it; its top stands at log p(x).",
    });
    const low = Math.max(elbo, FLOOR);
    const words = spaced(
      [logMarginal + 0.15, logMarginal - Math.min(gap / 2, 1.5), best.elbo, (low + FLOOR) / 2],
      0.46,
      FLOOR + 0.2,
    );
    bar
      .box([0.3, 1.35], [FLOOR, low], "elbo")
      .box([0.3, 1.35], [low, Math.max(elbo + gap, FLOOR)], "gap")
      .rule({ y: logMarginal }, "ink", { dash: "5 4" })
      .text(1.5, words[0] ?? 0, `log p(x) = ${shown(logMarginal)}`)
      .text(1.5, words[1] ?? 0, closed ? "gap closed" : `gap = ${shown(gap)}`, {
        role: "gap",
        dy: 4,
        bold: true,
      })
      .text(1.5, words[3] ?? 0, `ELBO = ${shown(elbo)}`, { role: "elbo", dy: 4, bold: true });
    if (!guessing) {
      bar
        .line([0.1, 1.45], [best.elbo, best.elbo], "ink", { width: 2 })
        .text(
          1.5,
          words[2] ?? 0,
          reached && !closed ? "the best Gaussian" : `best q: ${shown(best.elbo)}`,
          { dy: 4 },
        );
    }

    const decoder = new Plot({
      x: [-3.2, 3.2],
      y: [-3, 5],
      width: 400,
      height: 190,
      xlabel: "latent z",
      ylabel: "data x",
      ticks: [6, 0],
      alt: "The decoder's mean against z, a line or a parabola, and the level of the data point x.",
    });
    decoder
      .box([-3.2, 3.2], [x - noise, x + noise], "ink", { opacity: 0.09 })
      .rule({ y: x }, "ink", { dash: "5 4" })
      .curve(bent.mean, "model", { width: 2.5 })
      .text(BEND.at, bent.mean(BEND.at), "bend", { role: "model", anchor: "middle", dy: 24 })
      .text(2.45, x, `x = ${shown(x)}`, { anchor: "end", dy: -7 })
      .text(
        0,
        4.3,
        bend < 0.005 ? "decoder’s mean z: straight" : `decoder’s mean z + ${shown(bend)} z²`,
        { anchor: "middle", role: "model" },
      );

    const plane = new Plot({
      x: LIMITS.mean,
      y: LOGS,
      width: 260,
      height: 190,
      xlabel: "mean m of q",
      ylabel: "log s of q",
      ticks: [5, 4],
      alt: "The ELBO over the mean and the logarithm of the scale of q, darkest where it is highest, with the way that gradient ascent takes from q.",
    });
    const [along, up] = [0, 1].map((part) =>
      ahead.map((/** @type {Pair} */ place) => (part ? Math.log(place[1]) : place[0])),
    );
    plane
      .pixels(
        landscape.map((/** @type {number} */ value) => 0.8 * Math.exp(1.5 * (value - best.elbo))),
        PLANE.columns,
        { role: "elbo", smooth: true },
      )
      .line(along, up, "ink", { width: 1.5, dash: "2 4" })
      .line(
        taken.map((/** @type {Pair} */ [m]) => m),
        taken.map((/** @type {Pair} */ [, s]) => Math.log(s)),
        "q",
        { width: 3 },
      );
    if (ahead.length === 1 && !reached) {
      plane.text(mean, Math.log(scale), "stuck", {
        role: "gap",
        bold: true,
        dx: mean > 0 ? -14 : 14,
        dy: 5,
        anchor: mean > 0 ? "end" : "start",
      });
    }
    if (!guessing)
      plane.text(best.mean, Math.log(best.scale), "+", { anchor: "middle", dy: 5, bold: true });
    return [left, bar, decoder, plane];
  },

  says: ({ mean, scale }, { elbo, gap, logMarginal }) =>
    `q = N(${shown(mean)}, ${shown(scale)}²): ELBO ${shown(elbo)} + gap ${shown(gap)} = log p(x) ${shown(logMarginal)} nats`,

  play: {
    label: "Climb",
    again: ({ from }) => ({ mean: from[0], scale: from[1] }),
    step({ mean, scale, bend, x, from }, { scale: noise }) {
      const bent = model(bend, x, noise);
      const next = bent.step([mean, scale]);
      if (!next) return null;
      // A climb that was stopped goes on; any other begins here.
      const known = way(bent, from).some(([m, s]) => Math.hypot(m - mean, s - scale) < 1e-6);
      return { mean: next[0], scale: next[1], from: known ? from : [mean, scale] };
    },
  },

  guess: {
    kind: "number",
    question: "With the decoder bent as it is now, how small can a Gaussian q make the gap?",
    label: "smallest gap",
    min: 0,
    max: 1,
    start: 0.5,
    unit: "nats",
    truth: (_, { best, logMarginal }) => logMarginal - best.elbo,
  },

  handles: [
    ...gaussianHandles("q", { says: ({ gap }) => `gap ${shown(gap)} nats` }),
    {
      label: "Bend of the decoder",
      role: "model",
      panel: 2,
      along: "y",
      at: ({ bend }) => [BEND.at, BEND.at + bend * BEND.at ** 2],
      move: (_, [, to]) => ({ bend: (to - BEND.at) / BEND.at ** 2 }),
      says: ({ bend }, { logMarginal }) =>
        `bend ${shown(bend)}, log p(x) ${shown(logMarginal)} nats`,
    },
    {
      label: "Data point x",
      panel: 2,
      along: "y",
      at: ({ x }) => [2.75, x],
      move: (_, [, to]) => ({ x: to }),
      says: ({ x }, { logMarginal }) => `x ${shown(x)}, log p(x) ${shown(logMarginal)} nats`,
    },
    {
      label: "q in the plane of its mean and scale",
      role: "q",
      panel: 3,
      at: ({ mean, scale }) => [mean, Math.log(scale)],
      move: (_, [m, log]) => ({ mean: m, scale: Math.exp(log) }),
      says: ({ mean, scale }, { gap }) =>
        `mean ${shown(mean)}, standard deviation ${shown(scale)}, gap ${shown(gap)} nats`,
    },
  ],
});
