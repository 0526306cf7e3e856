/**
 * Two joints over (x, z): data and encoder make one, prior and decoder the other.
 *
 * Data N(0, v), encoder N(ax, s²); prior N(0, 1), decoder N(wz, σ²). The two errors have closed
 * forms, and so has the KL divergence of the joints, which is computed apart from them.
 */

import { figure } from "../figure.js";
import { density, klNormal } from "../gaussian.js";
import { stacked } from "../marks.js";
import { clamp, linspace } from "../numbers.js";
import { Plot, shown } from "../plot.js";

const WIDE = 4.2;
const HIGH = 3.6;
const xs = linspace(-WIDE, WIDE, 161);
/** Where an error vanishes a handle catches: a bit more than half of a key's step. */
const CATCH = 0.024;
const caught = (/** @type {number} */ value, /** @type {number} */ target) =>
  Math.abs(value - target) < CATCH ? target : value;
const marginal = (/** @type {any} */ { w, sigma }) => Math.hypot(w, sigma);

/**
 * KL(N(0, A) ‖ N(0, B)) of two units, by their variances and covariance.
 *
 * @param {[number, number, number]} first
 * @param {[number, number, number]} second
 */
function jointKl([axx, axz, azz], [bxx, bxz, bzz]) {
  const [a, b] = [axx * azz - axz ** 2, bxx * bzz - bxz ** 2];
  const trace = (bzz * axx - 2 * bxz * axz + bxx * azz) / b;
  return 0.5 * (trace - 2 + Math.log(b / a));
}

export default figure({
  start: { a: 0.15, s: 0.8, w: 0.5, sigma: 0.5 },
  limits: { a: [-1.2, 1.2], s: [0.15, 1.6], w: [-1.8, 1.8], sigma: [0.15, 1.8] },

  compute({ a, s, w, sigma }, { variance: v }) {
    const spread = marginal({ w, sigma });
    const posterior = { slope: w / spread ** 2, scale: sigma / spread };
    const modelling = klNormal(0, Math.sqrt(v), 0, spread);
    // The mean of q is off by (a − slope) x: its square averages to (a − slope)² v.
    const inference = klNormal((a - posterior.slope) * Math.sqrt(v), s, 0, posterior.scale);
    return {
      spread,
      posterior,
      modelling,
      inference,
      joint: jointKl([v, a * v, a ** 2 * v + s ** 2], [spread ** 2, w, 1]),
      codes: Math.sqrt(a ** 2 * v + s ** 2),
    };
  },

  draw({ a, s, w, sigma }, { spread, modelling, inference, codes }, { variance: v }) {
    const plane = new Plot({
      x: [-WIDE, WIDE],
      y: [-HIGH, HIGH],
      width: 400,
      height: 350,
      equal: true,
      xlabel: "x",
      ylabel: "z",
      ticks: [5, 4],
      alt: "Ellipses of the inference joint and of the generative joint in the plane of x and z; along the edges their marginals.",
    });
    // Of each joint the ellipses of one and of two standard deviations, through its own two axes.
    for (const r of [2, 1]) {
      const look = { width: r === 2 ? 2.5 : 1.5, fill: r === 1 ? 0.12 : 0 };
      plane
        .ellipse([0, 0], [r * w, r], [r * sigma, 0], "model", look)
        .ellipse([0, 0], [r * Math.sqrt(v), r * a * Math.sqrt(v)], [0, r * s], "q", look);
    }
    const [floor, wall] = [plane.y[0], plane.x[0]];
    const tall = (/** @type {number} */ scale) => xs.map((x) => 2.2 * density(0, scale)(x));
    const up = (/** @type {number} */ scale) => tall(scale).map((y) => floor + y);
    const right = (/** @type {number} */ scale) => tall(scale).map((x) => wall + x);
    plane
      .line(xs, up(spread), "model", { width: 2 })
      .line(xs, up(Math.sqrt(v)), "q", { width: 2, dash: "5 3" })
      .line(right(1), xs, "model", { width: 2 })
      .line(right(codes), xs, "q", { width: 2, dash: "5 3" })
      .text(WIDE, floor, "data and model, over x", { anchor: "end", dy: -44 })
      .text(wall, HIGH, "encoder and prior, over z", { dx: 6, dy: 12 })
      .text(WIDE, HIGH, "data and encoder", { role: "q", anchor: "end", dy: 12, bold: true })
      .text(WIDE, HIGH, "prior and decoder", { role: "model", anchor: "end", dy: 30, bold: true });
    // Beside each ring, what it moves.
    const tip = 2 * Math.sqrt(v);
    plane
      .text(tip, a * tip, "slope a ↕", { role: "q", dx: 13, dy: 4 })
      .text(0, 2 * s, "width s ↕", { role: "q", anchor: "end", dx: -13, dy: -6 })
      .text(-2 * w, -2, "weight w ↔", {
        role: "model",
        anchor: w < 0 ? "start" : "end",
        dx: w < 0 ? 13 : -13,
        dy: 4,
      })
      .text(2 * sigma, 0, "noise σ ↔", { role: "model", anchor: "middle", dx: 3, dy: 34 });

    const top = 2;
    const bars = new Plot({
      x: [0, 3.4],
      y: [0, top],
      width: 230,
      height: 300,
      title: " ",
      ylabel: "KL of the joints, in nats",
      ticks: [0, 4],
      alt: "A bar: the modelling error, and on top of it the inference error. Together they are the KL divergence of the joints.",
    });
    const low = Math.min(modelling, top);
    const apart = clamp(low + Math.min(inference, top - low) / 2, [low / 2 + 0.2, top - 0.1]);
    const named = (/** @type {string} */ name, /** @type {number} */ error) =>
      error < 0.005 ? `no ${name} error` : `${name} ${shown(error)}`;
    stacked(
      bars,
      [0.2, 1.2],
      [
        [modelling, "other"],
        [modelling + inference, "gap"],
      ],
    )
      .text(1.35, Math.max(apart, 0.3), named("inference", inference), {
        role: "gap",
        dy: 4,
        bold: true,
      })
      .text(1.35, clamp(low / 2, [0.1, top - 0.4]), named("modelling", modelling), {
        role: "other",
        dy: 4,
        bold: true,
      });
    if (modelling + inference > top) {
      bars.text(0.7, top, shown(modelling + inference), { anchor: "middle", dy: -6, bold: true });
    }
    return [plane, bars];
  },

  says: ({ a, s, w, sigma }, { modelling, inference, joint }) =>
    `a = ${shown(a)}, s = ${shown(s)}, w = ${shown(w)}, σ = ${shown(sigma)}: ` +
    (joint < 0.005 // what is printed as 0.00
      ? "both errors are gone, the two joints are one"
      : `modelling ${shown(modelling)} + inference ${shown(inference)} = ${shown(joint)} nats`),

  handles: [
    {
      label: "Encoder: slope a",
      role: "q",
      along: "y",
      at: ({ a }, _, { variance: v }) => [2 * Math.sqrt(v), 2 * a * Math.sqrt(v)],
      move: (state, [, z], { variance: v }) => ({
        a: caught(z / (2 * Math.sqrt(v)), state["w"] / marginal(state) ** 2),
      }),
    },
    {
      label: "Encoder: width s",
      role: "q",
      along: "y",
      at: ({ s }) => [0, 2 * s],
      move: (state, [, z]) => ({ s: caught(z / 2, state["sigma"] / marginal(state)) }),
    },
    {
      label: "Decoder: weight w",
      role: "model",
      along: "x",
      at: ({ w }) => [-2 * w, -2],
      move: ({ sigma }, [x], { variance: v }) => {
        const rest = Math.sqrt(Math.max(v - sigma ** 2, 0));
        return { w: Math.sign(-x) * caught(Math.abs(x) / 2, rest) };
      },
    },
    {
      label: "Decoder: noise σ",
      role: "model",
      along: "x",
      at: ({ sigma }) => [2 * sigma, 0],
      move: ({ w }, [x], { variance: v }) => ({
        sigma: caught(x / 2, Math.sqrt(Math.max(v - w ** 2, 0))),
      }),
    },
  ],
});
