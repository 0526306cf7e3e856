/**
 * The latent plane of a VAE of digits: a drawing goes in, its q(z | x) lies on the map, and the ELBO
 * says how well the model takes it.
 */

import { mosaic, picked, scattered } from "../digits.js";
import { figure } from "../figure.js";
import { klNormal, logNormal } from "../gaussian.js";
import { forward } from "../net.js";
import { clamp, sum } from "../numbers.js";
import { Plot, shown } from "../plot.js";

const LIMIT = 3.8;
const COLUMNS = 288;
// The board, in the units of its panel: a pixel is 20 wide.
const PIXEL = 20;
const TOP = 300;
const BOARD = 8 * PIXEL;
// The two pictures beside it.
const SIDE = 70;
const CLEAR = new Float64Array(64);

// E f(ε) for ε ~ N(0, 1), by the nine points of Gauss and Hermite.
const NODES = [
  [0, 0.40634920634920635],
  ...[
    [1.0232556637891326, 0.24409750289493953],
    [2.07684797867783, 0.04991640676521782],
    [3.20542900285647, 0.0027891413212317692],
    [4.512745863399783, 2.2345844007746607e-5],
  ].flatMap(([x = 0, w = 0]) => [
    [x, w],
    [-x, w],
  ]),
];

/**
 * How dark the pen leaves a pixel, by the distance of its middle.
 *
 * @param {number} distance
 */
const ink = (distance) => clamp(1.4 - 1.25 * distance, [0, 1]);

/**
 * The distance of a point from a stroke.
 *
 * @param {[number, number]} point
 * @param {[number, number]} from
 * @param {[number, number]} to
 */
function away([x, y], [ax, ay], [bx, by]) {
  const [u, v] = [bx - ax, by - ay];
  const along = ((x - ax) * u + (y - ay) * v) / Math.max(u * u + v * v, 1e-9);
  const t = clamp(along, [0, 1]);
  return Math.hypot(x - ax - t * u, y - ay - t * v);
}

/**
 * The share of the training digits whose ELBO is lower.
 *
 * @param {ArrayLike<number>} bounds  percentiles
 * @param {number} elbo
 */
function share(bounds, elbo) {
  let above = 0;
  while (above <= 100 && (bounds[above] ?? 0) < elbo) above += 1;
  if (above === 0 || above > 100) return above ? 1 : 0;
  const [low = 0, high = 0] = [bounds[above - 1], bounds[above]];
  return (above - 1 + (elbo - low) / (high - low)) / 100;
}

const drawn = (/** @type {ArrayLike<number>} */ pixels) => sum(pixels) > 0;

/**
 * The sum as readers see it: rounded, and still a sum.
 *
 * @param {{reconstruction: number, rate: number}} values
 */
function rounded({ reconstruction, rate }) {
  const tenth = (/** @type {number} */ value) => Math.round(10 * value) / 10;
  const [gain, cost] = [tenth(reconstruction), tenth(rate)];
  return { gain: shown(gain, 1), cost: shown(cost, 1), elbo: shown(gain - cost, 1) };
}

/**
 * @param {any} values
 */
function verdict({ below }) {
  if (below === 0) return "lower than that of every training digit";
  if (below < 0.5) return `lower than ${Math.floor(100 - 100 * below)} % of the training digits’`;
  return `higher than ${Math.floor(100 * below)} % of the training digits’`;
}

/**
 * @param {any} data
 * @param {any} state
 * @param {any} values
 * @param {boolean} guessing  then the reconstruction would give the answer away
 */
function board(data, { pixels }, values, guessing) {
  const { reconstruction, elbo, decoded, atZ } = values;
  const plot = new Plot({
    x: [0, 336],
    y: [-8, 310],
    width: 340,
    height: 322,
    bare: true,
    equal: true,
    alt:
      "The board with the drawing, its reconstruction, the picture that is decoded at z, and below " +
      "them the ELBO as a bar.",
  });
  const beside = BOARD + 16;
  /** @type {[string, ArrayLike<number>, number, number, number, "ink" | "posterior"][]} */
  const pictures = [
    ["x: draw here", pixels, 0, TOP, BOARD, "ink"],
    ["reconstruction", guessing ? CLEAR : decoded, beside, TOP, SIDE, "ink"],
    ["decoded at z", atZ, beside, TOP - BOARD + SIDE, SIDE, "posterior"],
  ];
  for (const [title, picture, left, top, side, role] of pictures) {
    plot.text(left, top + 6, title, { role, bold: true });
    plot.pixels(picture, 8, { x: [left, left + side], y: [top - side, top] });
    plot.rim([left, left + side], [top - side, top], role, { opacity: 0.6 });
  }
  // What no digit is known of, has a q too wide for a number that is right to a tenth of a nat.
  if (!drawn(pixels))
    return plot.text(0, 92, "draw a digit that fills the board: a 0 is the easiest");
  if (guessing) plot.text(beside + SIDE + 6, TOP - SIDE / 2, "guess first");
  // From −60 to 40 nats.
  const at = (/** @type {number} */ nats) => clamp((nats + 60) * 3.36, [0, 336]);
  const { bounds } = data;
  const nats = rounded(values);
  plot.text(0, 114, `reconstruction term ${nats.gain} nats`);
  plot.text(336, 114, `− KL ${nats.cost}`, { role: "other", anchor: "end" });
  plot.text(0, 92, `= ELBO ${nats.elbo} nats`, { role: "elbo", bold: true });
  plot.box([0, at(elbo)], [64, 84], "elbo").box([at(elbo), at(reconstruction)], [64, 84], "other");
  if (elbo < -60) plot.text(8, 69, "← far below");
  // Where the training digits are, and the one in their middle.
  const middle = at(bounds[50]);
  plot
    .box([at(bounds[1]), at(bounds[99])], [52, 60], "prior", { opacity: 0.6 })
    .line([middle, middle], [48, 88], "ink", { width: 2 })
    .line([0, 336], [48, 48], "ink", { width: 1, opacity: 0.5 });
  for (const mark of [-40, -20, 0])
    plot
      .line([at(mark), at(mark)], [48, 44], "ink", { width: 1, opacity: 0.5 })
      .text(at(mark), 32, shown(mark, 0), { anchor: "middle" });
  plot.text(middle, 32, "half", { anchor: "middle", bold: true });
  plot.text(336, 14, "grey: 98 % of the training digits", { anchor: "end" });
  plot.text(0, -4, verdict(values), { bold: true });
  return plot;
}

/**
 * A drawing's q(z | x), its reconstruction and its ELBO.
 *
 * @param {any} data
 * @param {ArrayLike<number>} x
 */
function evaluated({ encoder, decoder, scale, bounds }, x) {
  const [m0 = 0, m1 = 0, v0 = 0, v1 = 0] = forward(encoder, x);
  const [s0, s1] = [Math.exp(v0 / 2), Math.exp(v1 / 2)];
  let reconstruction = 0;
  for (const [e0 = 0, w0 = 0] of NODES) {
    for (const [e1 = 0, w1 = 0] of NODES) {
      const mean = forward(decoder, [m0 + s0 * e0, m1 + s1 * e1]);
      let logDensity = 0;
      for (let i = 0; i < 64; i++) logDensity += logNormal(x[i] ?? 0, mean[i] ?? 0, scale);
      reconstruction += w0 * w1 * logDensity;
    }
  }
  const rate = klNormal(m0, s0) + klNormal(m1, s1);
  return {
    x,
    mean: [m0, m1],
    scales: [s0, s1],
    decoded: forward(decoder, [m0, m1]),
    reconstruction,
    rate,
    elbo: reconstruction - rate,
    below: share(bounds, reconstruction - rate),
  };
}

export default figure({
  start: {
    z: [0.9, -0.1],
    pixels: new Array(64).fill(0),
    digit: 7,
    next: 2,
    pen: [0, 0],
    sample: 0,
    ground: "digits",
  },
  limits: {
    z: [-LIMIT, LIMIT],
    pixels: [0, 1],
    digit: [-1, 39],
    next: [0, 39],
    pen: [-10, 20],
    sample: [0, 1e4],
  },

  prepare(raw) {
    const decode = (/** @type {[number, number]} */ z) => forward(raw.decoder, z);
    const code = (/** @type {number} */ n) => raw.codes.subarray(2 * n, 2 * n + 2);
    return {
      ...raw,
      digits: scattered(raw.pictures, code, LIMIT, COLUMNS),
      // Paler, for there are words on it.
      mosaic: mosaic(decode, LIMIT, 18).map((value) => 0.45 * value),
      // Of the drawing that was evaluated last: a z that moves does not change it.
      last: {},
    };
  },

  compute({ z, pixels, digit }, data) {
    const x = digit < 0 ? pixels : digit;
    if (data.last.x !== x)
      data.last = { x, values: evaluated(data, digit < 0 ? pixels : picked(data.test, digit)) };
    return { ...data.last.values, atZ: forward(data.decoder, z) };
  },

  draw(state, values, data, { guessing }) {
    const { mean, scales } = values;
    const map = new Plot({
      x: [-LIMIT, LIMIT],
      y: [-LIMIT, LIMIT],
      width: 342,
      height: 338,
      ticks: [4, 4],
      alt:
        "The latent plane with digits at their codes, the ellipse of q(z | x) for the drawing, and " +
        "a code z.",
    });
    const ground = data[state.ground];
    map.pixels(ground, Math.sqrt(ground.length), { smooth: true });
    const right = state.z[0] > 2.5;
    map.text(state.z[0], state.z[1], "drag z", {
      role: "posterior",
      anchor: right ? "end" : "start",
      dx: right ? -12 : 12,
      dy: -6,
      bold: true,
    });
    if (!guessing) {
      map.ellipse(mean, [2 * scales[0], 0], [0, 2 * scales[1]], "q", { width: 2.5, fill: 0.35 });
      // Aside, towards the middle, so that it covers no ellipse.
      const side = mean[0] > 0 ? -1 : 1;
      const up = mean[1] > 2.6 ? -1 : 1;
      const near = [mean[0] + side * 2 * scales[0], mean[1] + up * scales[1]];
      const far = [mean[0] + side * (2 * scales[0] + 0.45), mean[1] + up * 0.6];
      map.line([near[0], far[0]], [near[1], far[1]], "q", { width: 1.5 });
      map.text(far[0] ?? 0, far[1] ?? 0, "q(z | x)", {
        role: "q",
        anchor: side < 0 ? "end" : "start",
        dx: side * 3,
        dy: 3,
        bold: true,
      });
    }
    return [map, board(data, { ...state, pixels: values.x }, values, guessing)];
  },

  says({ z }, { x, mean, scales, ...values }, { guessing }) {
    const code = `z = (${shown(z[0])}, ${shown(z[1])})`;
    if (!drawn(x)) return `Nothing is drawn; ${code}`;
    const q = guessing
      ? "q(z | x) is not shown yet"
      : `q(z | x) at (${shown(mean[0])}, ${shown(mean[1])}) ± (${shown(scales[0])}, ${shown(scales[1])})`;
    return `${q}; ELBO ${rounded(values).elbo} nats; ${code}`;
  },

  handles: [
    {
      label: "A code on the map, to decode",
      role: "posterior",
      at: ({ z }) => z,
      says: ({ z }) => `z = (${shown(z[0])}, ${shown(z[1])})`,
      move: (_, to) => ({ z: to }),
    },
  ],

  press: {
    panel: 1,
    label:
      "Board of 8 × 8 pixels, to draw a digit on: arrows move the pen, Space sets a dot, Shift and " +
      "an arrow draw",
    area: [
      [0, BOARD],
      [TOP - BOARD, TOP],
    ],
    move({ pixels, digit, pen }, [x, y], _, first) {
      /** @type {[number, number]} */
      const to = [x / PIXEL, (TOP - y) / PIXEL];
      // A stroke on a test digit begins a drawing of its own.
      const old = digit < 0 ? pixels : new Array(64).fill(0);
      const from = first ? to : pen;
      const drawn = old.map((/** @type {number} */ value, /** @type {number} */ i) => {
        const dark = ink(away([(i % 8) + 0.5, Math.floor(i / 8) + 0.5], from, to));
        return Math.max(value, Math.round(16 * dark) / 16);
      });
      return { pixels: drawn, digit: -1, pen: to };
    },
  },

  controls: [
    {
      kind: "button",
      label: "Clear the board",
      press: () => ({ pixels: new Array(64).fill(0), digit: -1 }),
    },
    {
      kind: "button",
      label: "Next test digit",
      // Goes on where it was, whatever was drawn in between.
      press: ({ next }) => ({ digit: next, next: (next + 1) % 40 }),
    },
    {
      kind: "button",
      label: "Shift by a pixel",
      press({ pixels, digit }, { test }) {
        const old = digit < 0 ? pixels : picked(test, digit);
        const shifted = Array.from({ length: 64 }, (_, i) => (i % 8 ? (old[i - 1] ?? 0) : 0));
        return { pixels: shifted, digit: -1 };
      },
    },
    {
      kind: "button",
      label: "Sample the prior",
      press: ({ sample }, { random }) => ({
        sample: sample + 1,
        z: [0, 1].map((i) => random[(2 * sample + i) % 200]),
      }),
    },
    {
      kind: "choice",
      name: "ground",
      label: "Map",
      options: [
        ["digits", "training digits"],
        ["mosaic", "decoded plane"],
      ],
    },
  ],

  guess: {
    kind: "point",
    question: "Where will the encoder put the digit on the board? Drag “your guess” there.",
    label: "Your guess: where the code will lie",
    start: [2, -3],
    truth: (_, { mean }) => mean,
  },
});
