/**
 * Seven codes: what a rate is made of.
 *
 * q(z) is the average of N(c_n, s²). The rate is the mean KL divergence from the prior N(0, 1): the
 * mutual information plus the mismatch KL(q(z) ‖ p(z)). Sums over one grid, but the rate.
 */

import { figure } from "../figure.js";
import { density, klNormal, logNormal } from "../gaussian.js";
import { clamp, linspace, mean } from "../numbers.js";
import { Plot, shown } from "../plot.js";

const COUNT = 7;
const CAP = Math.log(COUNT);
// Up to where the widest code has any mass, in steps that the narrowest one needs.
const STEP = 1 / 50;
const zs = linspace(-10, 10, 20 / STEP + 1);

/** Where there is something to draw: within the panel, and above its floor. */
const inside = zs.map((z, i) => (Math.abs(z) <= 3.5 ? i : -1)).filter((i) => i >= 0);
const curve = (/** @type {ArrayLike<number>} */ values, least = 0) => {
  const seen = inside.filter((i) => (values[i] ?? 0) >= least);
  return /** @type {const} */ ([seen.map((i) => zs[i] ?? 0), seen.map((i) => values[i] ?? 0)]);
};
const prior = zs.map(density(0, 1));

export default figure({
  start: { spread: 0.55, width: 0.16 },
  limits: { spread: [0, 1.6], width: [0.06, 1.2] },

  compute({ spread, width }) {
    const centres = linspace(-1.5 * spread, 1.5 * spread, COUNT);
    const all = new Float64Array(zs.length);
    const each = centres.map((centre) =>
      zs.map(density(centre, width)).map((value, i) => {
        all[i] = (all[i] ?? 0) + value / COUNT;
        return value / COUNT;
      }),
    );
    let [information, mismatch] = [0, 0];
    zs.forEach((z, i) => {
      const here = all[i] ?? 0;
      if (here < 1e-300) return;
      mismatch += here * (Math.log(here) - logNormal(z, 0, 1)) * STEP;
      for (const one of each) {
        const own = one[i] ?? 0;
        if (own > 1e-300) information += own * Math.log((own * COUNT) / here) * STEP;
      }
    });
    const rate = mean(centres.map((centre) => klNormal(centre, width)));
    return { each, all, information, mismatch, rate };
  },

  draw(_, { each, all, information, mismatch }) {
    const plane = new Plot({
      x: [-3.5, 3.5],
      y: [0, 1.15],
      width: 430,
      height: 270,
      xlabel: "z",
      ticks: [6, 0],
      alt: "Seven Gaussian codes, a seventh of its density each, their average q(z), and the prior.",
    });
    for (const one of each) plane.line(...curve(one, 1e-3), "other", { width: 1.2 });
    plane
      .line(...curve(prior), "prior", { width: 2 })
      .line(...curve(all), "q", { width: 2.5 })
      .text(-3.4, 1.06, "q(z), the average", { role: "q", bold: true })
      .text(-3.4, 0.97, "seven codes", { role: "other", bold: true })
      .text(-3.4, 0.88, "prior p(z)", { role: "prior", bold: true });

    const top = 3.4;
    const bars = new Plot({
      x: [0, 3.4],
      y: [0, top],
      width: 230,
      height: 240,
      ylabel: "rate, in nats",
      ticks: [0, 4],
      alt: "The rate as a bar: the information below, which never exceeds log 7, and the mismatch on top.",
    });
    const low = Math.min(information, top);
    bars
      .box([0.2, 1.2], [0, low], "elbo")
      .box([0.2, 1.2], [low, Math.min(information + mismatch, top)], "gap")
      .rule({ y: CAP }, "ink", { dash: "5 4" })
      .text(3.35, CAP, "log 7", { anchor: "end", dy: -5 })
      .text(1.35, Math.max(low - 0.3, 0.12), `information ${shown(information)}`, {
        role: "elbo",
        dy: 4,
        bold: true,
      })
      .text(1.35, low + clamp(mismatch / 2, [0.1, 0.9]), `mismatch ${shown(mismatch)}`, {
        role: "gap",
        dy: low > CAP - 0.35 ? -16 : 0,
        bold: true,
      });
    return [plane, bars];
  },

  says: ({ spread, width }, { information, mismatch, rate }) => {
    const parts = `rate ${shown(rate)} = information ${shown(information)} + mismatch ${shown(mismatch)} nats`;
    if (rate < 0.01) return `Collapsed, as the encoder sees it: ${parts}`;
    if (mismatch < 0.1 && information > 1.3) return `Hardly a mismatch, and much is told: ${parts}`;
    return `Spread ${shown(spread)}, width ${shown(width)}: ${parts}`;
  },

  handles: [
    {
      label: "The outermost code: the spread of all",
      role: "other",
      along: "x",
      at: ({ spread, width }) => [1.5 * spread, density(0, width)(0) / COUNT],
      move: (_, [x]) => ({ spread: x / 1.5 }),
    },
    {
      label: "Its flank: the width of all",
      role: "other",
      along: "x",
      at: ({ spread, width }) => [1.5 * spread + 2 * width, density(0, width)(2 * width) / COUNT],
      move: ({ spread }, [x]) => ({ width: (x - 1.5 * spread) / 2 }),
    },
  ],
});
