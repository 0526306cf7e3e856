/**
 * The blur: the best decoder's picture for one code, and the pictures that it is an average of.
 *
 * μ*(z) = Σ w_n(z) x_n, where the weights are a softmax of log N(z; code_n, s²I). Nothing is trained.
 */

import { figure } from "../figure.js";
import { along, clamp, sum } from "../numbers.js";
import { Plot, shown } from "../plot.js";

const HEAVIEST = 9;
const REACH = 2.4;
const KINDS = { digits: 10, sprites: 3 };
const DIGITS = [
  "zeros",
  "ones",
  "twos",
  "threes",
  "fours",
  "fives",
  "sixes",
  "sevens",
  "eights",
  "nines",
];

/**
 * Sprites of 16 × 16 pixels from their factors, as the package's `draw_sprites` draws them.
 *
 * @param {Float32Array} factors  shape, place and radius of each
 */
function sprites(factors) {
  const side = 16;
  const foot = Math.sqrt(Math.PI / Math.sqrt(27));
  const pixels = new Float64Array((factors.length / 4) * side * side);
  for (let i = 0; i < pixels.length; i++) {
    const [shape, x, y, radius] = /** @type {[number, number, number, number]} */ (
      /** @type {unknown} */ (factors.subarray(4 * Math.floor(i / side ** 2)))
    );
    const right = ((i % side) + 0.5) * (2 / side) - 1 - x;
    const up = 1 - (Math.floor((i % side ** 2) / side) + 0.5) * (2 / side) - y;
    const distance =
      shape === 0
        ? Math.hypot(right, up) - radius
        : shape === 1
          ? Math.max(Math.abs(right), Math.abs(up)) - (radius * Math.sqrt(Math.PI)) / 2
          : Math.max(-up, (up + Math.sqrt(3) * Math.abs(right)) / 2) - radius * foot;
    pixels[i] = clamp(0.5 - (distance * side) / 2, [0, 1]);
  }
  return pixels;
}

const count = (/** @type {number} */ value) => shown(value, value < 9.95 ? 1 : 0);
// Neither nothing nor all where it is only nearly so.
const percent = (/** @type {number} */ share) => {
  if (share < 0.0005) return "< 0.1 %";
  const exact = share < 0.0995 || (share > 0.995 && share < 0.9995);
  return `${shown(100 * share, exact ? 1 : 0)} %`;
};

export default figure({
  start: { data: "digits", z: [-0.1, 1.35], width: 0.25 },
  limits: { z: [-REACH, REACH] },

  prepare({ digits, sprites: shapes }) {
    const { factors } = shapes;
    const levels = /** @type {Uint8Array} */ (digits.pictures);
    const whole = (/** @type {any} */ set) => ({
      ...set,
      along: [along(set.codes, 0), along(set.codes, 1)],
    });
    return {
      digits: whole({ ...digits, pictures: Float64Array.from(levels, (level) => level / 16) }),
      sprites: whole({
        codes: shapes.codes,
        pictures: sprites(factors),
        labels: factors.filter((/** @type {number} */ _, /** @type {number} */ i) => i % 4 === 0),
      }),
    };
  },

  compute({ data: name, z, width }, data) {
    const { pictures, codes, labels } = data[name];
    const [count, pixels] = [labels.length, pictures.length / labels.length];
    const logs = Float64Array.from(
      { length: count },
      (_, n) => -((z[0] - codes[2 * n]) ** 2 + (z[1] - codes[2 * n + 1]) ** 2) / (2 * width ** 2),
    );
    // By logarithms: far away all weights but one are zero in floating point.
    const heaviest = [...logs.keys()]
      .sort((a, b) => (logs[b] ?? 0) - (logs[a] ?? 0))
      .slice(0, HEAVIEST);
    const top = logs[heaviest[0] ?? 0] ?? 0;
    const weights = logs.map((log) => Math.exp(log - top));
    const total = sum(weights);
    const best = new Float64Array(pixels);
    const shares = new Float64Array(KINDS[/** @type {"digits" | "sprites"} */ (name)]);
    let squares = 0;
    for (let n = 0; n < count; n++) {
      const weight = (weights[n] ?? 0) / total;
      weights[n] = weight;
      squares += weight * weight;
      shares[labels[n]] = (shares[labels[n]] ?? 0) + weight;
      if (weight < 1e-12) continue;
      for (let i = 0; i < pixels; i++) best[i] = (best[i] ?? 0) + weight * pictures[n * pixels + i];
    }
    return {
      best,
      weights,
      heaviest,
      shares,
      averaged: 1 / squares,
      majority: shares.indexOf(Math.max(...shares)),
    };
  },

  draw({ data: name, z, width }, { best, weights, heaviest, averaged }, data, { guessing }) {
    const { pictures, codes, along: axes } = data[name];
    const plane = new Plot({
      x: [-REACH - 0.2, REACH + 0.2],
      y: [-REACH - 0.2, REACH + 0.2],
      width: 290,
      height: 270,
      equal: true,
      xlabel: "z₁",
      ylabel: "z₂",
      ticks: [4, 4],
      alt: "The codes of 500 pictures as dots; the code z that is decoded, with circles of one and two widths around it.",
    });
    plane
      .points(axes[0], axes[1], "prior", { size: 3.5, opacity: 0.55 })
      .ellipse(z, [2 * width, 0], [0, 2 * width], "q", { width: 1, opacity: 0.8, fill: 0.16 })
      .ellipse(z, [width, 0], [0, width], "q", { width: 1.5, fill: 0.16 });
    for (const n of heaviest) {
      const share = guessing ? 0.1 : weights[n];
      plane.points([codes[2 * n]], [codes[2 * n + 1]], "posterior", {
        size: 3 + 9 * Math.sqrt(share),
      });
    }

    const side = Math.round(Math.sqrt(best.length));
    const large = new Plot({
      x: [0, 1],
      y: [0, 1],
      width: 166,
      height: 188,
      bare: true,
      title: "best decoder’s μ*(z)",
      alt: "The picture that the best decoder draws at this code.",
    });
    large.pixels(best, side, { y: [0, 1] }).rim([0, 1], [0, 1], "prior", { opacity: 0.6 });

    const behind = new Plot({
      x: [0, 3],
      y: [0, 3.6],
      width: 192,
      height: 250,
      bare: true,
      title: guessing ? "its nine heaviest" : `worth ${count(averaged)} pictures`,
      alt: `The ${HEAVIEST} pictures with the largest weights, with their share in the average.`,
    });
    heaviest.forEach((/** @type {number} */ n, /** @type {number} */ k) => {
      const [left, low] = [k % 3, 2.7 - 1.2 * Math.floor(k / 3)];
      const own = pictures.subarray(n * best.length, (n + 1) * best.length);
      // What has next to no share is pale.
      const ink = guessing ? 1 : 0.2 + 0.8 * Math.min(1, weights[n] / 0.04);
      behind
        .pixels(
          own.map((/** @type {number} */ level) => ink * level),
          side,
          { x: [left + 0.06, left + 0.94], y: [low, low + 0.9] },
        )
        .text(left + 0.5, low, guessing ? "?" : percent(weights[n]), {
          anchor: "middle",
          dy: 13,
        });
    });
    return [plane, large, behind];
  },

  says: ({ data: name, width }, { averaged, shares, majority }, { guessing }) => {
    const most = shares[majority];
    const [, second] = [...shares.keys()].sort((a, b) => shares[b] - shares[a]);
    const share = (/** @type {number} */ k) => `${DIGITS[k]} have ${shown(100 * shares[k], 0)} %`;
    const worth = guessing ? "" : `an average worth ${count(averaged)} pictures; `;
    const whose =
      averaged < 1.05 && !guessing
        ? "the decoder looks up the nearest"
        : name === "sprites"
          ? "the code tells where a shape stands, neither which nor how large it is"
          : most < 0.5
            ? `no digit has half of the weight: ${share(majority)}, ${share(second)}`
            : `${shown(100 * most, 0)} % of the weight belongs to ${DIGITS[majority]}`;
    return `Width ${shown(width)}: ${worth}${whose}.`;
  },

  controls: [
    { kind: "slider", name: "width", label: "width s", min: 0.01, max: 3, log: true },
    {
      kind: "choice",
      name: "data",
      label: "data",
      options: [
        ["digits", "digits"],
        ["sprites", "sprites"],
      ],
    },
  ],

  handles: [
    {
      label: "The code z that is decoded",
      role: "q",
      at: ({ z }) => z,
      move: (_, to) => ({ z: to }),
    },
  ],

  // Around the middle, so that one picture goes over into the next.
  play: {
    label: "Walk around",
    step: ({ z: [x, y] }) => {
      const far = Math.max(Math.hypot(x, y), 0.6);
      const angle = Math.atan2(y, x) - 0.012;
      return { z: [far * Math.cos(angle), far * Math.sin(angle)] };
    },
  },

  guess: {
    kind: "number",
    question: "How many pictures, in equal shares, is the average shown now worth?",
    label: "pictures",
    min: 1,
    max: 500, // all
    start: 100,
    digits: 0,
    truth: (_, { averaged }) => averaged,
  },
});
