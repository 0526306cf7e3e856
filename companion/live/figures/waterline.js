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
const SIDE = 8;
const COLUMNS = 5;
/** Of the picture of all digits: rows of pixels that two of them take. */
const PAIR = 2 * SIDE + 3;
/** Where an axis of levels has its marks. */
const MARKS = [0.01, 0.03, 0.1, 0.3, 1];

const water = (/** @type {number} */ level) => shown(level, level < 0.0995 ? 3 : 2);
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
    const collapsed = sum(variances) / (2 * noise);
    return { variances, axes, mean, originals, places, count, noise, curve, collapsed };
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

  draw({ level }, { rate, alive, pictures, gone }, data, { guessing }) {
    const { variances, originals, count, curve, noise } = data;
    const [floor, top, surface] = [nats(0.003), nats(1.8), nats(level)];
    const bars = new Plot({
      x: [-5, SHOWN + 0.8],
      y: [floor, top],
      width: 390,
      height: 235,
      ticks: [5, 0],
      title: "variance λ of each direction",
      xlabel: "direction j",
      alt: `The variances of the data along their principal axes, largest first, on a logarithmic axis, and the water line. ${alive} stand out of the water.`,
    });
    const sea = /** @type {[number, number]} */ ([0, SHOWN + 0.8]);
    for (const mark of MARKS) {
      bars
        .line(sea, [nats(mark), nats(mark)], "prior", { width: 1, opacity: 0.35 })
        .text(0, nats(mark), mark, { anchor: "end", dx: -4, dy: 4 });
    }
    for (let j = 0; j < SHOWN; j++) {
      const height = Math.max(nats(variances[j]), floor);
      bars.box([j + 0.6, j + 1.4], [floor, Math.min(height, surface)], "prior", { opacity: 0.7 });
      if (height > surface) bars.box([j + 0.6, j + 1.4], [surface, height], "posterior");
    }
    bars
      .box(sea, [floor, surface], "other", { opacity: 0.3 })
      .line([24, 31], [nats(noise), nats(noise)], "elbo", { dash: "5 4" })
      .text(30, nats(noise), "β = 1", { role: "elbo", anchor: "end", dy: -5 })
      .line(sea, [surface, surface], "other", { width: 3 })
      .text(SHOWN - 4, surface, `βσ² = ${water(level)}`, {
        role: "other",
        anchor: "end",
        dy: surface > nats(0.1) ? 18 : -8,
        bold: true,
      })
      .line([21, 21], [nats(0.7), nats(0.7) - 1], "ink", { width: 1.5 })
      .text(21, nats(0.7) - 0.5, "1 nat of rate", { dx: 7, dy: 5 })
      .text(
        SHOWN - 4,
        nats(1),
        guessing ? `${alive} alive` : `${alive} alive, rate ${shown(rate)} nats`,
        {
          anchor: "end",
          dy: -4,
          role: "posterior",
          bold: true,
        },
      );

    const wide = COLUMNS * (SIDE + 1) - 1;
    const tall = 2 * PAIR - 2;
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
      alt: "Ten digits, below each what the decoder draws from its mean code, in a frame if half of its shape is lost.",
    });
    tiles.pixels(grid, wide);
    for (const n of gone) {
      const from = (n % COLUMNS) * (SIDE + 1);
      const low = tall - Math.floor(n / COLUMNS) * PAIR - 2 * SIDE - 1;
      tiles.rim([from, from + SIDE], [low, low + SIDE], "gap", { width: 2, opacity: 1 });
    }

    const logs = levels.map(Math.log10);
    const sketch = new Plot({
      x: [Math.log10(LOW), 0],
      y: [0, 60],
      width: 340,
      height: 200,
      xlabel: "water level βσ²",
      ylabel: "nats",
      title: "rate",
      ticks: [0, 4],
      alt: "The rate against the water level: it falls to zero where the water reaches the largest variance.",
    });
    for (const mark of MARKS) sketch.text(Math.log10(mark), 0, mark, { anchor: "middle", dy: 15 });
    const one = Math.log10(noise);
    sketch
      .rule({ x: one }, "elbo", { dash: "5 4" })
      .text(one, 60, "β = 1", { role: "elbo", dx: 5, dy: 12 });
    if (!guessing) {
      sketch
        .line(logs, curve, "posterior", { width: 2.5 })
        .points([Math.log10(level)], [rate], "posterior", { size: 10 });
    }
    sketch.rule({ x: Math.log10(level) }, "other", { width: 3 });
    return [bars, tiles, sketch];
  },

  says: ({ level }, { beta, alive, left, gone, gain }) => {
    const at = `Water ${water(level)}, β = ${shown(beta, beta < 0.995 ? 2 : 1)}: `;
    if (!alive)
      return `${at}the code is dead. Its rate is 0, and every digit is drawn as their mean.`;
    const lost =
      gone.length === left.length
        ? "no digit has half of its shape"
        : gone.length
          ? `shape half gone: ${gone.join(", ")}`
          : "every digit has most of its shape";
    return `${at}ELBO ${shown(gain, 1)} nats above that of a dead code; ${lost}.`;
  },

  controls: [
    {
      kind: "slider",
      name: "level",
      label: "water level βσ²",
      min: LOW,
      max: HIGH,
      log: true,
      text: water,
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
    step: ({ level }, { variances }) => (level > variances[0] ? null : { level: level * 1.1 }),
    every: 120,
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
    at: (log) => `water ${water(10 ** log)}`,
    xs: levels.map(Math.log10),
    start: 30,
    truth: (_state, _values, { curve }) => curve,
  },
});
