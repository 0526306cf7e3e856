/**
 * The water line: which directions of the data the best linear VAE keeps, and what they cost.
 *
 * Of variance λ_j a direction has the rate max(0, ½ log λ_j / βσ²), and leaves the squared error
 * min(λ_j, βσ²): what lies under water is lost. The decoder's σ² stays as it is, β moves.
 */

import { figure } from "../figure.js";
import { sum } from "../numbers.js";
import { Plot, shown } from "../plot.js";

const [LOW, HIGH] = [0.004, 1];
const SHOWN = 46;
const LEFT = -3;
const SIDE = 8;
const COLUMNS = 5;
/** Of the picture of all digits: rows of pixels that two of them take, with the space for a bar. */
const PAIR = 2 * SIDE + 4;

const nats = (/** @type {number} */ variance) => 0.5 * Math.log(variance);
const levels = Array.from({ length: 61 }, (_, i) => LOW * (HIGH / LOW) ** (i / 60));

/**
 * @param {ArrayLike<number>} variances
 * @param {number} level
 */
const ratesAt = (variances, level) =>
  Array.from(variances, (variance) => Math.max(0, 0.5 * Math.log(variance / level)));

export default figure({
  start: { level: 0.012 },

  prepare({ variances, axes, mean, digits, variance: noise }) {
    const pixels = mean.length;
    const originals = Float64Array.from(digits, (/** @type {number} */ grey) => grey / 16);
    const count = originals.length / pixels;
    // Of each digit its place along each axis, from the mean.
    const places = new Float64Array(originals.length);
    for (let n = 0; n < count; n++) {
      for (let j = 0; j < pixels; j++) {
        for (let i = 0; i < pixels; i++) {
          places[n * pixels + j] =
            (places[n * pixels + j] ?? 0) +
            axes[i * pixels + j] * ((originals[n * pixels + i] ?? 0) - mean[i]);
        }
      }
    }
    const curve = levels.map((level) => sum(ratesAt(variances, level)));
    const errors = levels.map(
      (level) =>
        sum(Array.from(variances, (/** @type {number} */ variance) => Math.min(variance, level))) /
        (2 * noise),
    );
    const collapsed = sum(variances) / (2 * noise);
    return { variances, axes, mean, originals, places, count, noise, curve, errors, collapsed };
  },

  compute({ level }, { variances, axes, mean, originals, places, count, noise, collapsed }) {
    const pixels = mean.length;
    const rates = ratesAt(variances, level);
    const rate = sum(rates);
    const distortion =
      sum(Array.from(variances, (/** @type {number} */ variance) => Math.min(variance, level))) /
      (2 * noise);
    const alive = rates.filter((one) => one > 0).length;
    // Decoded from the mean of the code: what is above water, and that shrunk by 1 − βσ² / λ.
    const pictures = new Float64Array(originals.length);
    const left = new Float64Array(count);
    for (let n = 0; n < count; n++) {
      const from = n * pixels;
      pictures.set(mean, from);
      for (let j = 0; j < alive; j++) {
        const kept = (places[from + j] ?? 0) * (1 - level / variances[j]);
        for (let i = 0; i < pixels; i++)
          pictures[from + i] = (pictures[from + i] ?? 0) + kept * axes[i * pixels + j];
      }
      let [error, whole] = [0, 0];
      for (let i = 0; i < pixels; i++) {
        error += ((pictures[from + i] ?? 0) - (originals[from + i] ?? 0)) ** 2;
        whole += (mean[i] - (originals[from + i] ?? 0)) ** 2;
      }
      left[n] = 1 - error / whole;
    }
    const gone = [...left.keys()].filter((n) => (left[n] ?? 0) < 0.5);
    return {
      beta: level / noise,
      rates,
      rate,
      distortion,
      alive,
      pictures,
      left,
      gone,
      gain: collapsed - rate - distortion,
    };
  },

  draw({ level }, { beta, rate, distortion, alive, pictures, left, gain }, data, { guessing }) {
    const { variances, originals, count, curve, errors, collapsed } = data;
    const [floor, top, water] = [nats(0.003), nats(1.6), nats(level)];
    const bars = new Plot({
      x: [LEFT, SHOWN + 0.8],
      y: [floor, top],
      width: 390,
      height: 250,
      ticks: [5, 0],
      title: "variance λ of each direction",
      xlabel: "direction j",
      alt: `The variances of the data along their principal axes, largest first, on a logarithmic axis, and the water line. ${alive} stand out of the water.`,
    });
    for (const mark of [0.01, 0.1, 1]) {
      bars
        .rule({ y: nats(mark) }, "prior", { width: 1, opacity: 0.35 })
        .text(LEFT, nats(mark), mark, { dx: 3, dy: -3 });
    }
    for (let j = 0; j < SHOWN; j++) {
      const height = Math.max(nats(variances[j]), floor);
      bars.box([j + 0.6, j + 1.4], [floor, Math.min(height, water)], "prior", { opacity: 0.7 });
      if (height > water) bars.box([j + 0.6, j + 1.4], [water, height], "posterior");
    }
    bars
      .box([LEFT, SHOWN + 0.8], [floor, water], "other", { opacity: 0.3 })
      .rule({ y: water }, "other", { width: 3 })
      .text(SHOWN - 4, water, `βσ² = ${shown(level, level < 0.0995 ? 3 : 2)}`, {
        role: "other",
        anchor: "end",
        dy: water > nats(0.1) ? 18 : -8,
        bold: true,
      })
      .line([21, 21], [nats(0.7), nats(0.7) - 1], "ink", { width: 1.5 })
      .text(21, nats(0.7) - 0.5, "1 nat of rate", { dx: 7, dy: 5 })
      .text(
        SHOWN + 0.5,
        nats(1),
        guessing ? `${alive} alive` : `${alive} alive, rate ${shown(rate)} nats`,
        { anchor: "end", dy: -3, role: "posterior", bold: true },
      );

    const wide = COLUMNS * (SIDE + 1) - 1;
    const tall = 2 * PAIR - 1;
    const grid = new Float64Array(wide * tall);
    for (let n = 0; n < count; n++) {
      const [column, row] = [(n % COLUMNS) * (SIDE + 1), Math.floor(n / COLUMNS) * PAIR];
      for (let i = 0; i < SIDE * SIDE; i++) {
        const at = column + (i % SIDE) + wide * (row + Math.floor(i / SIDE));
        grid[at] = originals[n * SIDE * SIDE + i];
        grid[at + wide * (SIDE + 1)] = pictures[n * SIDE * SIDE + i];
      }
    }
    const tiles = new Plot({
      x: [0, wide],
      y: [0, tall],
      width: 266,
      height: 26 + Math.round((262 * tall) / wide),
      bare: true,
      title: "digits, and what is drawn for them",
      alt: "Ten digits, below each what the decoder draws from its mean code, and how much of its shape is left as a bar.",
    });
    tiles.pixels(grid, wide);
    for (let n = 0; n < count; n++) {
      const [from, y] = [
        (n % COLUMNS) * (SIDE + 1),
        tall - Math.floor(n / COLUMNS) * PAIR - 2 * SIDE - 2,
      ];
      tiles
        .box([from, from + SIDE], [y - 0.6, y + 0.2], "prior", { opacity: 0.3 })
        .box(
          [from, from + SIDE * Math.max(left[n], 0)],
          [y - 0.6, y + 0.2],
          left[n] < 0.5 ? "gap" : "posterior",
        );
    }

    const logs = levels.map(Math.log10);
    const sketch = new Plot({
      x: [Math.log10(LOW), 0],
      y: [0, 60],
      width: 328,
      height: 220,
      xlabel: "log₁₀ of the water level βσ²",
      ylabel: "nats",
      title: "rate",
      ticks: [5, 4],
      alt: "The rate against the water level: it falls to zero where the water reaches the largest variance.",
    });
    if (!guessing) {
      sketch
        .line(logs, curve, "posterior", { width: 2.5 })
        .points([Math.log10(level)], [rate], "posterior", { size: 10 });
    }
    sketch.rule({ x: Math.log10(level) }, "other", { dash: "4 4" });

    const plane = new Plot({
      x: [0, 60],
      y: [0, 66],
      width: 328,
      height: 220,
      xlabel: "rate (nats)",
      ylabel: "nats",
      title: "distortion",
      ticks: [4, 4],
      alt: "Distortion against rate: a curve that falls from the collapsed corner, and on it the point of this water level with its line of equal ELBO.",
    });
    const ends = [0, 66];
    plane
      .line(
        ends,
        ends.map((r) => collapsed - r),
        "gap",
        { width: 1, dash: "3 4" },
      )
      .line(
        ends,
        ends.map((r) => rate + distortion - r),
        "elbo",
        { width: 1.5, dash: "6 4" },
      )
      .line(curve, errors, "ink", { width: 2 })
      .points([0], [collapsed], "gap", { size: 10 })
      .text(0, collapsed, "collapsed", { role: "gap", dx: 10, dy: -2, bold: true })
      .points([rate], [distortion], "posterior", { size: 10 })
      .text(58, 52, `β = ${shown(beta, beta < 0.995 ? 2 : 1)}`, { anchor: "end", bold: true })
      .text(
        58,
        52,
        Math.abs(beta - 1) < 0.03
          ? "ELBO: at its highest"
          : `ELBO: ${shown(gain, 1)} above collapse`,
        { role: "elbo", anchor: "end", dy: 18 },
      );
    return [bars, tiles, sketch, plane];
  },

  says: ({ level }, { alive, rate, left, gone }, { guessing }) => {
    const water = `Water at ${shown(level, level < 0.0995 ? 3 : 2)}: `;
    if (!alive)
      return `${water}the code is dead. Its rate is 0, and every digit is drawn as their mean.`;
    const lost =
      gone.length === left.length
        ? "no digit has half of its shape"
        : gone.length
          ? `shape half gone: ${gone.join(", ")}`
          : "every digit has most of its shape";
    return `${water}${alive} directions alive${guessing ? "" : `, ${shown(rate)} nats`}; ${lost}.`;
  },

  controls: [
    {
      kind: "slider",
      name: "level",
      label: "water level βσ²",
      min: LOW,
      max: HIGH,
      log: true,
      text: (value) => shown(value, value < 0.0995 ? 3 : 2),
    },
  ],

  handles: [
    {
      label: "The water line",
      role: "other",
      along: "y",
      at: ({ level }) => [SHOWN - 2, nats(level)],
      move: (_, [, y]) => ({ level: Math.exp(2 * y) }),
    },
  ],

  play: {
    label: "Let it rise",
    step: ({ level }, { variances }) => (level > variances[0] ? null : { level: level * 1.012 }),
    again: () => ({ level: LOW }),
  },

  guess: {
    kind: "curve",
    question:
      "How does the rate fall as the water rises? Draw it with the ring in the panel “rate”.",
    label: "Your sketch of the rate",
    panel: 2,
    unit: "nats",
    digits: 1,
    xs: levels.map(Math.log10),
    start: 30,
    truth: (_state, _values, { curve }) => curve,
  },
});
