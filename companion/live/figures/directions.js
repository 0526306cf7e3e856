/**
 * The two directions of the KL divergence: one Gaussian q against a density p with two peaks.
 *
 * p = w N(−d/2, r²) + (1 − w) N(d/2, r²). Both divergences are sums over one grid.
 */

import { figure } from "../figure.js";
import { density, logNormal } from "../gaussian.js";
import { gaussianHandles } from "../handles.js";
import { named, stacked } from "../marks.js";
import { last, linspace, logSumExp } from "../numbers.js";
import { Plot, shown } from "../plot.js";

// As far as the widest q has any mass, and five cells in the narrowest standard deviation.
const EDGE = 20;
const STEP = 1 / 20;
const SEEN = 4.2;
/** A slope that is too small to see: here descent stops. */
const FLAT = 0.004;
/** @typedef {"seeking" | "covering"} Direction */
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
 * @param {Direction} which
 */
function gradient(logP, mean, scale, which) {
  const at = (/** @type {number} */ m, /** @type {number} */ s) => both(logP, m, s)[which];
  const h = 1e-3;
  return [
    (at(mean + h, scale) - at(mean - h, scale)) / (2 * h),
    (at(mean, scale * Math.exp(h)) - at(mean, scale * Math.exp(-h))) / (2 * h),
  ];
}

/**
 * The Gaussian with the smallest KL(q ‖ p), among all: the best of the hollows that a search reaches
 * from each peak and from the moments of p.
 *
 * @param {number[]} logP
 * @param {{mean: number, scale: number}[]} starts
 */
function deepest(logP, starts) {
  const at = (/** @type {number} */ m, /** @type {number} */ s) => both(logP, m, s).seeking;
  const found = starts.map(({ mean, scale }) => {
    let [m, s, value] = [mean, scale, at(mean, scale)];
    for (let size = 0.1; size > 5e-4; size /= 2) {
      for (let moved = true; moved;) {
        moved = false;
        for (const [i, j] of /** @type {const} */ ([
          [1, 0],
          [-1, 0],
          [0, 1],
          [0, -1],
        ])) {
          const [near, wide] = [m + i * size, s * Math.exp(j * size)];
          const low = at(near, wide);
          if (low < value) [m, s, value, moved] = [near, wide, low, true];
        }
      }
    }
    return { mean: m, scale: s, value };
  });
  return found.reduce((a, b) => (b.value < a.value ? b : a));
}

const WORDS = { seeking: "KL(q\u00a0‖\u00a0p)", covering: "KL(p\u00a0‖\u00a0q)" };

export default figure({
  start: { mean: 0.7, scale: 0.6, apart: 3, which: "covering" },
  limits: { mean: [-3, 3], scale: [0.4, 2.5] },

  prepare(data) {
    const logP = last((/** @type {number} */ apart) => target(data, apart));
    const best = last((/** @type {number} */ apart) => {
      const { mean, scale } = moments(data, apart);
      const peaks = [-0.5, 0.5].map((side) => ({ mean: side * apart, scale: data.width }));
      return {
        seeking: deepest(logP(apart), [{ mean, scale }, ...peaks]),
        covering: { mean, scale, value: both(logP(apart), mean, scale).covering },
      };
    });
    return { logP, best };
  },

  compute({ mean, scale, apart, which }, { logP, best }) {
    const slope = gradient(logP(apart), mean, scale, /** @type {Direction} */ (which));
    return {
      p: logP(apart).map(Math.exp),
      ...both(logP(apart), mean, scale),
      best: best(apart),
      stopped: Math.hypot(...slope) < FLAT,
    };
  },

  draw({ mean, scale, which }, { p, seeking, covering, best }, _, { guessing }) {
    const plane = new Plot({
      x: [-SEEN, SEEN],
      y: [0, 1.02],
      width: 400,
      height: 270,
      xlabel: "z",
      ticks: [6, 0],
      title: " ",
      alt: "A density p with two peaks, and the Gaussian q.",
    });
    const seen = (/** @type {unknown} */ _, /** @type {number} */ i) =>
      Math.abs(zs[i] ?? 0) <= SEEN;
    const [here, heights] = [zs.filter(seen), p.filter(seen)];
    plane
      .area(here, heights, "posterior", { opacity: 0.15 })
      .line(here, heights, "posterior", { width: 2.5 })
      .curve(density(mean, scale), "q", { width: 2.5 });
    /** @type {[string, import("../plot.js").Role][]} */
    const names = [
      ["p", "posterior"],
      ["q, one Gaussian", "q"],
    ];
    if (!guessing) {
      const { mean: m, scale: s } = best[which];
      plane
        .curve(density(m, s), "ink", { width: 1.5, dash: "5 4", opacity: 0.7 })
        .points([m], [density(m, s)(m)], "ink", { size: 8 });
      names.push([`dashed: lowest ${WORDS[/** @type {Direction} */ (which)]}`, "ink"]);
    }
    named(plane, names);

    const top = 3;
    const bars = new Plot({
      x: [0, 2.4],
      y: [0, top],
      width: 230,
      height: 270,
      ylabel: "nats",
      ticks: [0, 6],
      title: " ",
      alt: "Two bars: the KL divergence of q from p, and that of p from q.",
    });
    Object.entries({ seeking, covering }).forEach(([name, value], i) => {
      const asked = name === which;
      stacked(bars, [0.2 + 1.1 * i, 1.1 + 1.1 * i], [[value, i ? "other" : "gap"]], {
        opacity: asked ? 1 : 0.4,
      })
        .text(0.65 + 1.1 * i, Math.min(value, top), shown(value), {
          anchor: "middle",
          dy: -6,
          bold: asked,
        })
        .text(0.65 + 1.1 * i, 0, WORDS[/** @type {Direction} */ (name)], {
          anchor: "middle",
          dy: 17,
          bold: asked,
        });
    });
    return [plane, bars];
  },

  says({ mean, scale, which }, values) {
    const { seeking, covering, best, stopped } = values;
    const q = `N(${shown(mean)}, ${shown(scale)}²)`;
    if (!stopped) {
      return `q = ${q}: ${WORDS.seeking} = ${shown(seeking)}, ${WORDS.covering} = ${shown(covering)} nats`;
    }
    const [name, value, least] = [
      WORDS[/** @type {Direction} */ (which)],
      values[which],
      best[which],
    ];
    // Another hollow may be as deep as the deepest, but it lies elsewhere.
    return value - least.value < 0.01 && Math.abs(mean - least.mean) < 0.1
      ? `q has reached the lowest ${name} of any Gaussian: ${shown(least.value)} nats, ` +
          `at N(${shown(least.mean)}, ${shown(least.scale)}²)`
      : `A hollow of ${name}, at q = ${q}: ${shown(value)} nats. ` +
          `The lowest is ${shown(least.value)}, around z = ${shown(least.mean)}`;
  },

  controls: [
    {
      kind: "choice",
      name: "which",
      label: "Lower",
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
    step: ({ mean, scale, apart, which }, { logP }) => {
      const [alongMean = 0, alongScale = 0] = gradient(
        logP(apart),
        mean,
        scale,
        /** @type {Direction} */ (which),
      );
      if (Math.hypot(alongMean, alongScale) < FLAT) return null;
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
    truth: (_, { best: { covering } }) => [covering.mean, density(0, covering.scale)(0)],
  },
});
