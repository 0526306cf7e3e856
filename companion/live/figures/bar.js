/**
 * The bound as a bar: ELBO and gap of a Gaussian q, under a log p(x) that q cannot move.
 *
 * z ~ N(0, 1), x | z ~ N(z, σ²): everything has a closed form. The figure computes the ELBO and the
 * gap apart, and log p(x) apart from both.
 */

import { figure } from "../figure.js";
import { density, klNormal, logNormal } from "../gaussian.js";
import { gaussianHandles } from "../handles.js";
import { overLatent, stacked } from "../marks.js";
import { Plot, shown } from "../plot.js";

const FLOOR = -7;
const CLOSED = 0.005;

export default figure({
  start: { mean: -0.4, scale: 0.35 },
  limits: { mean: [-2.5, 2.5], scale: [0.27, 1.5] },

  compute({ mean, scale }, { x, scale: noise }) {
    const precision = 1 + 1 / noise ** 2;
    const posterior = { mean: x / noise ** 2 / precision, scale: precision ** -0.5 };
    // E_q log p(x | z) = log N(x; m, σ²) − s² / 2σ².
    const reconstruction = logNormal(x, mean, noise) - scale ** 2 / (2 * noise ** 2);
    const rate = klNormal(mean, scale);
    return {
      posterior,
      elbo: reconstruction - rate,
      gap: klNormal(mean, scale, posterior.mean, posterior.scale),
      logMarginal: logNormal(x, 0, Math.hypot(1, noise)),
    };
  },

  draw({ mean, scale }, { posterior, elbo, gap, logMarginal }) {
    const left = new Plot({
      x: [-3, 3],
      y: [0, 1.5],
      width: 400,
      height: 240,
      title: " ",
      xlabel: "latent z",
      ticks: [6, 0],
      alt: "The densities of the prior, of the exact posterior and of q over the latent z.",
    });
    const truth = density(posterior.mean, posterior.scale);
    overLatent(left, density(mean, scale), truth, gap < CLOSED);

    const right = new Plot({
      x: [0, 3.1],
      y: [FLOOR, -0.8],
      width: 260,
      height: 240,
      ylabel: "nats",
      ticks: [0, 6],
      alt: "A bar: the ELBO below, the gap on top of it; its top stands at log p(x).",
    });
    const low = Math.max(elbo, FLOOR);
    stacked(
      right,
      [0.35, 1.45],
      [
        [elbo, "elbo"],
        [elbo + gap, "gap"],
      ],
    )
      .rule({ y: logMarginal }, "ink", { dash: "5 4" })
      .text(1.6, logMarginal, `log p(x) = ${shown(logMarginal)}`, { dy: -7 })
      .text(
        1.6,
        logMarginal - Math.min(Math.max(gap / 2, 0.4), 2.2),
        gap < CLOSED ? "gap closed" : `gap = ${shown(gap)}`,
        { role: "gap", dy: 4, bold: true },
      )
      .text(1.6, Math.max((low + FLOOR) / 2, FLOOR + 0.4), `ELBO = ${shown(elbo)}`, {
        role: "elbo",
        dy: 4,
        bold: true,
      });
    return [left, right];
  },

  says: ({ mean, scale }, { elbo, gap }) =>
    gap < CLOSED
      ? `The gap is closed: q is the posterior, and the ELBO is log p(x) = ${shown(elbo)} nats`
      : `q = N(${shown(mean)}, ${shown(scale)}²): ELBO ${shown(elbo)} nats, gap ${shown(gap)} nats`,

  handles: gaussianHandles("q", { says: ({ gap }) => `gap ${shown(gap)} nats` }),
});
