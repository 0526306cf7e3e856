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
import { named, overLatent, stacked } from "../marks.js";
import { clamp, logSumExp } from "../numbers.js";
import { Plot, shown, spaced } from "../plot.js";

/** @typedef {[number, number]} Pair  a mean and a standard deviation of q */

const FLOOR = -6;
const BEND = { at: -1.5 };
/** @type {Record<"mean" | "scale" | "bend" | "x", Pair>} */
const LIMITS = { mean: [-3, 2.5], scale: [0.15, 1.5], bend: [0, 1], x: [-1.5, 2.6] };

const CELL = 0.02;
const grid = Float64Array.from({ length: 1401 }, (_, i) => (i - 700) * CELL);

/** Where the best Gaussian is looked for first: a grid of q's two numbers, from wide to narrow. */
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

/** Below this a gap is not seen, and a bend neither. */
const CLOSED = 0.005;
const STRAIGHT = 0.005;
const fine = (/** @type {number} */ gap) => (gap < CLOSED ? "< 0.005" : shown(gap));

/**
 * A gap in words. Of a bent decoder some is always left.
 *
 * @param {number} gap
 * @param {number} bend
 */
const remaining = (gap, bend) =>
  gap < CLOSED && bend < STRAIGHT
    ? "gap closed"
    : gap < CLOSED
      ? `gap ${fine(gap)}`
      : `gap = ${fine(gap)}`;

export default figure({
  start: { mean: -0.5, scale: 0.7, bend: 0.75, x: 2 },
  limits: LIMITS,

  compute({ mean, scale, bend, x }, { scale: noise }) {
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
    return {
      elbo: bent.elbo(mean, scale),
      gap,
      logMarginal,
      best: highest(bent, landscape),
      ahead: way(bent, [mean, scale]),
    };
  },

  draw(
    { mean, scale, bend, x },
    { elbo, gap, logMarginal, best, ahead },
    { scale: noise },
    { guessing },
  ) {
    const bent = model(bend, x, noise);
    const reached = best.elbo - elbo < 0.005;
    const left = new Plot({
      x: [-3.2, 3.2],
      y: [0, 1.55],
      width: 400,
      height: 210,
      xlabel: "latent z",
      ylabel: "density",
      ticks: [6, 0],
      title: " ",
      alt: "The densities of the prior, of the exact posterior and of q over the latent z.",
    });
    const truth = (/** @type {number} */ z) => Math.exp(bent.logJoint(z) - logMarginal);
    overLatent(left, density(mean, scale), truth, gap < CLOSED);
    if (ahead.length === 1 && !reached) {
      left.text(mean, density(mean, scale)(mean), "stuck on the lower peak", {
        role: "gap",
        bold: true,
        dx: mean > 0 ? -14 : 14,
        dy: -4,
        anchor: mean > 0 ? "end" : "start",
      });
    }

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
    stacked(
      bar,
      [0.3, 1.35],
      [
        [elbo, "elbo"],
        [elbo + gap, "gap"],
      ],
    )
      .rule({ y: logMarginal }, "ink", { dash: "5 4" })
      .text(1.5, words[0] ?? 0, `log p(x) = ${shown(logMarginal)}`)
      .text(1.5, words[1] ?? 0, remaining(gap, bend), { role: "gap", dy: 4, bold: true })
      .text(1.5, words[3] ?? 0, `ELBO = ${shown(elbo)}`, { role: "elbo", dy: 4, bold: true });
    if (!guessing) {
      bar
        .line([0.1, 1.45], [best.elbo, best.elbo], "ink", { width: 2 })
        .text(
          1.5,
          words[2] ?? 0,
          reached ? "the best q" : `best: gap ${fine(logMarginal - best.elbo)}`,
          {
            dy: 4,
          },
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
      title: " ",
      alt: "The decoder's mean against z, a line or a parabola, and the level of the data point x.",
    });
    decoder
      .box([-3.2, 3.2], [x - noise, x + noise], "ink", { opacity: 0.09 })
      .rule({ y: x }, "ink", { dash: "5 4" })
      .curve(bent.mean, "model", { width: 2.5 })
      .text(BEND.at, bent.mean(BEND.at), "bend ↕", {
        role: "model",
        anchor: "end",
        dx: -13,
        dy: 5,
      })
      .text(2.75, x, "x ↕", { anchor: "middle", dy: -14 });
    named(decoder, [
      [`decoder’s mean ${bend < STRAIGHT ? "z: straight" : `z + ${shown(bend)} z²`}`, "model"],
      [`data x = ${shown(x)}`, "ink"],
    ]);
    return [left, bar, decoder];
  },

  says: ({ mean, scale, bend }, { elbo, gap, logMarginal }) =>
    `q = N(${shown(mean)}, ${shown(scale)}²): ` +
    (gap < CLOSED
      ? `${remaining(gap, bend)}, ELBO ${shown(elbo)}`
      : `ELBO ${shown(elbo)} + gap ${shown(gap)} = log p(x) ${shown(logMarginal)}`) +
    " nats",

  play: {
    label: "Climb",
    step({ mean, scale, bend, x }, { scale: noise }) {
      const next = model(bend, x, noise).step([mean, scale]);
      return next && { mean: next[0], scale: next[1] };
    },
  },

  guess: {
    kind: "number",
    question: "With the decoder bent as it is now, how small can a Gaussian q make the gap?",
    label: "smallest gap",
    min: 0,
    max: 1,
    start: 0.5,
    digits: 3,
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
  ],
});
