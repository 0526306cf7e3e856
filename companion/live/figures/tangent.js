/**
 * The bound as a function of the decoder's parameter: for a fixed q it touches log p(x) from below.
 *
 * z ~ N(0, 1), x | z ~ N(φ z, 1). q is the posterior at an older φ. The E step moves that φ to where
 * the decoder is now, the M step moves the decoder to the top of the ELBO of this q.
 */

import { figure } from "../figure.js";
import { density, klNormal, logNormal } from "../gaussian.js";
import { named } from "../marks.js";
import { linspace } from "../numbers.js";
import { Plot, shown } from "../plot.js";

const REACH = 4;
const FLOOR = -6.5;
const phis = linspace(-REACH, REACH, 321);
const asked = linspace(-REACH, REACH, 41);

/**
 * The posterior N(m, s²) of a decoder.
 *
 * @param {number} phi
 * @param {number} x
 */
const posterior = (phi, x) => ({
  mean: (phi * x) / (phi ** 2 + 1),
  scale: (phi ** 2 + 1) ** -0.5,
});

/**
 * log N(x; 0, φ² + 1)
 *
 * @param {number} phi
 * @param {number} x
 */
const logMarginal = (phi, x) => logNormal(x, 0, Math.hypot(phi, 1));

/**
 * E_q log N(x; φ z, 1) − KL(q ‖ p(z)): a parabola in φ.
 *
 * @param {number} phi
 * @param {{mean: number, scale: number}} q
 * @param {number} x
 */
const elbo = (phi, q, x) =>
  logNormal(x, phi * q.mean, 1) - 0.5 * (phi * q.scale) ** 2 - klNormal(q.mean, q.scale);

/**
 * The φ with the highest ELBO of this q.
 *
 * @param {{mean: number, scale: number}} q
 * @param {number} x
 */
const top = (q, x) => (x * q.mean) / (q.mean ** 2 + q.scale ** 2);

// A step shows the curve, whether it was guessed or not.
const eStep = (/** @type {any} */ { phi }) => ({ old: phi, stepped: true });
const mStep = (/** @type {any} */ { old, from }, /** @type {{x: number}} */ { x }) => ({
  stepped: true,
  phi: top(posterior(old, x), x),
  // A staircase that leads here goes on; any other begins here.
  from: stairs(from, x).some((at) => Math.abs(at - old) < 1e-3) ? from : old,
});

/** Near zero lies a place that is worth finding, and a key's step is 0.08. */
const caught = (/** @type {number} */ phi) => (Math.abs(phi) < 0.041 ? 0 : phi);

/**
 * Where pairs of steps lead from a φ.
 *
 * @param {number} from
 * @param {number} x
 */
function stairs(from, x) {
  const found = [from];
  for (let phi = from; found.length < 40; found.push(phi)) phi = top(posterior(phi, x), x);
  return found;
}

export default figure({
  start: { phi: 0.25, old: -0.6, from: -0.6, stepped: false },
  limits: { phi: [-REACH, REACH], old: [-REACH, REACH], from: [-REACH, REACH] },

  compute({ phi, old, from }, { x }) {
    const q = posterior(old, x);
    const now = posterior(phi, x);
    const way = stairs(from, x);
    const here = way.findIndex((at) => Math.abs(at - phi) < 1e-3);
    return {
      q,
      posterior: now,
      logMarginal: logMarginal(phi, x),
      elbo: elbo(phi, q, x),
      gap: klNormal(q.mean, q.scale, now.mean, now.scale),
      touches: logMarginal(old, x),
      top: top(q, x),
      bound: phis.map((at) => elbo(at, q, x)),
      way: way.slice(0, here + 1),
    };
  },

  draw(
    { phi, old, stepped },
    { q, posterior: now, logMarginal: level, elbo: low, gap, touches, top: best, bound, way },
    { x },
    { guessing },
  ) {
    const hidden = guessing && !stepped;
    const left = new Plot({
      x: [-REACH, REACH],
      y: [FLOOR, -1.6],
      width: 400,
      height: 270,
      xlabel: "parameter φ of the decoder",
      ylabel: "nats",
      alt: "log p(x) against φ, with two tops; the ELBO of q, a parabola below it that touches it where q is the posterior; the gap at the present φ.",
    });
    left
      .line(
        phis,
        phis.map((at) => logMarginal(at, x)),
        "ink",
        { width: 2.5 },
      )
      .line([old, old], [touches, -1.6], "q", { dash: "3 4", width: 1.5 })
      .line([phi, phi], [FLOOR, level], "model", { dash: "3 4", width: 1.5 });
    if (!hidden) {
      // One stair: along the ELBO of its q, then up to the curve.
      way.slice(0, -1).forEach((/** @type {number} */ a, /** @type {number} */ i) => {
        const b = way[i + 1];
        const steps = Array.from({ length: 21 }, (_, k) => a + ((b - a) * k) / 20);
        const was = posterior(a, x);
        left
          .line(
            steps,
            steps.map((at) => elbo(at, was, x)),
            "elbo",
            { width: 1.5, opacity: 0.8 },
          )
          .line([b, b], [elbo(b, was, x), logMarginal(b, x)], "gap", { width: 3, opacity: 0.8 });
      });
      const flank = best > 0 ? best - 2.3 : best + 2.3;
      left
        .line(phis, bound, "elbo", { width: 2.5 })
        .line([phi, phi], [low, level], "gap", { width: 6 })
        .points([best], [elbo(best, q, x)], "elbo", { size: 9 })
        .text(flank, Math.max(elbo(flank, q, x), FLOOR + 0.6), "ELBO of q", {
          role: "elbo",
          anchor: best > 0 ? "end" : "start",
          dx: best > 0 ? -8 : 8,
          bold: true,
        });
    }
    const side = (/** @type {number} */ at) => (at > 1 ? /** @type {const} */ ("end") : "start");
    left
      .points([phi], [level], "ink", { size: 8 })
      .text(-3.9, logMarginal(-3.4, x) - 0.45, "log p(x)", { bold: true })
      .text(old, -1.8, "q is the posterior here", {
        role: "q",
        anchor: side(old),
        dx: old > 1 ? -6 : 6,
        dy: 4,
      })
      .text(phi, FLOOR, "decoder now", {
        role: "model",
        anchor: side(phi),
        dx: phi > 1 ? -14 : 14,
        dy: -7,
      });

    const right = new Plot({
      x: [-3, 3],
      y: [0, 1.5],
      width: 260,
      height: 270,
      xlabel: "latent z",
      ticks: [4, 0],
      title: " ",
      alt: "The densities over z of q and of the posterior of the present decoder.",
    });
    right
      .curve(density(0, 1), "prior", { width: 1.5 })
      .curve(density(q.mean, q.scale), "q", { width: 2.5, fill: 0.25 })
      .curve(density(now.mean, now.scale), "posterior", {
        width: 2.5,
        dash: gap < 0.001 ? "6 6" : "",
      });
    named(right, [
      ["prior", "prior"],
      ["q", "q"],
      ["posterior now", "posterior"],
    ]);
    if (!hidden) {
      const stays = Math.abs(best - old) < 0.02 && gap < 1e-4;
      const where = Math.abs(old) < 0.5 ? "stuck: q is the prior" : "at the top";
      const words = stays ? where : gap < 0.005 ? "gap closed" : `gap = ${shown(gap)}`;
      right.text(-2.9, 1.38, words, { role: "gap", bold: true });
    }
    return [left, right];
  },

  says: ({ phi, old, stepped }, { logMarginal: level, elbo: low, gap }, { guessing }) =>
    `decoder φ = ${shown(phi)}, q of φ = ${shown(old)}: log p(x) ${shown(level)}` +
    (guessing && !stepped ? "" : ` = ELBO ${shown(low)} + gap ${shown(gap)}`),

  controls: [
    { kind: "button", label: "E step: move q", press: eStep },
    { kind: "button", label: "M step: move φ", press: mStep },
  ],

  play: {
    label: "EM",
    every: 500,
    again: ({ from }) => ({ phi: from, old: from }),
    step(state, data) {
      if (Math.abs(state["phi"] - state["old"]) > 1e-3) return eStep(state);
      const next = mStep(state, data);
      return Math.abs(next.phi - state["phi"]) > 5e-3 ? next : null;
    },
  },

  guess: {
    kind: "curve",
    question:
      "q stays as it is. Sketch its ELBO against φ with the blue pen. One point of it you know. Or press a step and see.",
    label: "Pen: the ELBO of q",
    xs: asked,
    at: (phi) => `φ = ${shown(phi)}`,
    start: -5.5,
    unit: "nats",
    truth: ({ old }, _, { x }) =>
      asked.map((at) => Math.max(elbo(at, posterior(old, x), x), FLOOR)),
  },

  handles: [
    {
      label: "Where q is the posterior: q’s φ",
      role: "q",
      along: "x",
      at: ({ old }, { touches }) => [old, touches],
      move: (_, [to]) => {
        const old = caught(to);
        return { old, from: old };
      },
    },
    {
      label: "Decoder: its φ",
      role: "model",
      along: "x",
      at: ({ phi }) => [phi, FLOOR],
      move: (_, [to]) => ({ phi: caught(to) }),
    },
  ],
});
