/**
 * The two directions of the KL divergence: one Gaussian q against a density p with two peaks.
 *
 * p = w N(−d/2, r²) + (1 − w) N(d/2, r²). Both divergences are sums over one grid.
 */

import { figure } from "../figure.js";
import { density, logNormal } from "../gaussian.js";
import { gaussianHandles } from "../handles.js";
import { linspace, logSumExp } from "../numbers.js";
import { Plot, shown } from "../plot.js";

// As far as the widest q has any mass, and five cells in the narrowest standard deviation.
const EDGE = 20;
const STEP = 1 / 20;
const SEEN = 4.2;
const zs = linspace(-EDGE, EDGE, (2 * EDGE) / STEP + 1);

/**
 * log p on the grid.
 *
 * @param {{weight: number, width: number}} data
 * @param {number} apart
 */
function target({ weight, width }, apart) {
  return zs.map((z) => {
    const left = Math.log(weight) + logNormal(z, -apart / 2, width);
    const right = Math.log(1 - weight) + logNormal(z, apart / 2, width);
    return logSumExp([left, right]);
  });
}

/**
 * KL(q ‖ p) and KL(p ‖ q) for q = N(mean, scale²).
 *
 * @param {number[]} logP
 * @param {number} mean
 * @param {number} scale
 */
function both(logP, mean, scale) {
  let [seeking, covering] = [0, 0];
  zs.forEach((z, i) => {
    const logQ = logNormal(z, mean, scale);
    const log = logP[i] ?? 0;
    seeking += Math.exp(logQ) * (logQ - log) * STEP;
    covering += Math.exp(log) * (log - logQ) * STEP;
  });
  return { seeking, covering };
}

/**
 * Mean and standard deviation of p: those of the q that is best for KL(p ‖ q).
 *
 * @param {{weight: number, width: number}} data
 * @param {number} apart
 */
function moments({ weight, width }, apart) {
  return {
    mean: (0.5 - weight) * apart,
    scale: Math.sqrt(width ** 2 + weight * (1 - weight) * apart ** 2),
  };
}

/**
 * The gradient of one of both, in the mean and in the logarithm of the scale.
 *
 * @param {number[]} logP
 * @param {number} mean
 * @param {number} scale
 * @param {"seeking" | "covering"} which
 */
function gradient(logP, mean, scale, which) {
  const at = (/** @type {number} */ m, /** @type {number} */ s) => both(logP, m, s)[which];
  const h = 1e-3;
  return [
    (at(mean + h, scale) - at(mean - h, scale)) / (2 * h),
    (at(mean, scale * Math.exp(h)) - at(mean, scale * Math.exp(-h))) / (2 * h),
  ];
}

const WORDS = { seeking: "KL(q\u00a0‖\u00a0p)", covering: "KL(p\u00a0‖\u00a0q)" };

export default figure({
  start: { mean: 0.7, scale: 0.6, apart: 3, which: "seeking" },
  limits: { mean: [-3, 3], scale: [0.25, 2.5] },

  compute({ mean, scale, apart, which }, data) {
    const logP = target(data, apart);
    const slope = gradient(logP, mean, scale, /** @type {"seeking" | "covering"} */ (which));
    return {
      p: logP.map(Math.exp),
      ...both(logP, mean, scale),
      moments: moments(data, apart),
      lowest: Math.hypot(...slope) < 0.02,
    };
  },

  draw({ mean, scale, which }, { p, seeking, covering }) {
    const plane = new Plot({
      x: [-SEEN, SEEN],
      y: [0, 0.82],
      width: 430,
      height: 270,
      xlabel: "z",
      ticks: [6, 0],
      alt: "A density p with two peaks, and the Gaussian q.",
    });
    const here = zs.filter((z) => Math.abs(z) <= SEEN);
    const peaks = p.filter(
      (/** @type {number} */ _, /** @type {number} */ i) => Math.abs(zs[i] ?? 0) <= SEEN,
    );
    plane
      .area(here, peaks, "posterior", { opacity: 0.15 })
      .line(here, peaks, "posterior", { width: 2.5 })
      .curve(density(mean, scale), "q", { width: 2.5 })
      .text(-4.1, 0.76, "p", { role: "posterior", bold: true })
      .text(-4.1, 0.69, "q, one Gaussian", { role: "q", bold: true });

    const top = 2.5;
    const bars = new Plot({
      x: [0, 2.4],
      y: [0, top],
      width: 230,
      height: 240,
      ylabel: "nats",
      ticks: [0, 5],
      alt: "Two bars: the KL divergence of q from p, and that of p from q.",
    });
    Object.entries({ seeking, covering }).forEach(([name, value], i) => {
      const asked = name === which;
      bars
        .box([0.2 + 1.1 * i, 1.1 + 1.1 * i], [0, Math.min(value, top)], i ? "other" : "gap", {
          opacity: asked ? 1 : 0.4,
        })
        .text(0.65 + 1.1 * i, Math.min(value, top - 0.45), shown(value), {
          anchor: "middle",
          dy: -6,
          bold: asked,
        })
        .text(0.65 + 1.1 * i, 0, WORDS[/** @type {"seeking" | "covering"} */ (name)], {
          anchor: "middle",
          dy: 17,
          bold: asked,
        });
    });
    return [plane, bars];
  },

  says: ({ mean, scale, which }, { seeking, covering, lowest }) =>
    lowest
      ? `A lowest point of ${WORDS[/** @type {"seeking" | "covering"} */ (which)]}: ${shown(which === "seeking" ? seeking : covering)} nats, at q = N(${shown(mean)}, ${shown(scale)}²)`
      : `q = N(${shown(mean)}, ${shown(scale)}²): ${WORDS.seeking} = ${shown(seeking)}, ${WORDS.covering} = ${shown(covering)} nats`,

  controls: [
    {
      kind: "choice",
      name: "which",
      label: "lower",
      options: [
        ["seeking", WORDS.seeking],
        ["covering", WORDS.covering],
      ],
    },
    { kind: "slider", name: "apart", label: "distance of the peaks", min: 0, max: 4, step: 0.05 },
  ],

  handles: gaussianHandles("q"),

  // Gradient descent in the mean and the logarithm of the scale, until the step is too small to see.
  play: {
    label: "Descend",
    step: ({ mean, scale, apart, which }, data) => {
      const logP = target(data, apart);
      const [alongMean = 0, alongScale = 0] = gradient(
        logP,
        mean,
        scale,
        /** @type {"seeking" | "covering"} */ (which),
      );
      if (Math.hypot(alongMean, alongScale) < 0.004) return null;
      const rate = 0.03;
      return {
        mean: mean - rate * alongMean,
        scale: scale * Math.exp(-rate * alongScale),
      };
    },
  },

  guess: {
    kind: "point",
    question:
      "Which q makes KL(p ‖ q) smallest? Put the ring where its peak will be, then compare and descend.",
    label: "Your guess of the peak",
    start: [2.6, 0.6],
    truth: (_, { moments: best }) => [best.mean, density(0, best.scale)(0)],
  },
});
