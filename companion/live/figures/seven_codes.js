/**
 * Seven codes: what a rate is made of.
 *
 * q(z) is the average of N(c_n, s²). The rate is the mean KL divergence from the prior N(0, 1): the
 * mutual information plus the mismatch KL(q(z) ‖ p(z)). Sums over one grid, but the rate.
 */

import { figure } from "../figure.js";
import { density, klNormal, logNormal } from "../gaussian.js";
import { clamp, linspace, mean } from "../numbers.js";
import { Plot, shown, spaced } from "../plot.js";

const COUNT = 7;
const CAP = Math.log(COUNT);
// Up to where the widest code has any mass, in steps that the narrowest one needs.
const STEP = 1 / 50;
const zs = linspace(-10, 10, 20 / STEP + 1);

/** The reader's goal: a mismatch below this, and at least so much information. */
const LITTLE = 0.1;
const MUCH = 1.3;
/** @type {Record<"spread" | "width" | "best", [number, number]>} */
const LIMITS = { spread: [0, 1.6], width: [0.06, 1.2], best: [0, CAP] };

/** Where there is something to draw: within the panel, and above its floor. */
const inside = zs.map((z, i) => (Math.abs(z) <= 3.5 ? i : -1)).filter((i) => i >= 0);
const curve = (/** @type {ArrayLike<number>} */ values, least = 0) => {
  const seen = inside.filter((i) => (values[i] ?? 0) >= least);
  return /** @type {const} */ ([seen.map((i) => zs[i] ?? 0), seen.map((i) => values[i] ?? 0)]);
};
const prior = zs.map(density(0, 1));

/**
 * The codes and their average on the grid, and the parts of the rate.
 *
 * @param {any} state
 */
function parts({ spread, width }) {
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
}

/**
 * A state that was moved, with the most information so far at little mismatch.
 *
 * @param {any} state
 * @param {any} change
 */
function recorded(state, change) {
  const next = { ...state, ...change };
  const { information, mismatch } = parts(next);
  return { ...change, best: mismatch < LITTLE ? Math.max(state.best, information) : state.best };
}

export default figure({
  start: { spread: 0.55, width: 0.16, best: 0 },
  limits: LIMITS,

  compute: parts,

  draw({ best }, { each, all, information, mismatch }) {
    const plane = new Plot({
      x: [-3.5, 3.5],
      y: [0, 1.15],
      width: 380,
      height: 250,
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

    const top = 3.8;
    const bars = new Plot({
      x: [0, 3.4],
      y: [0, top],
      width: 280,
      height: 225,
      ylabel: "rate, in nats",
      ticks: [0, 4],
      alt: "The rate as a bar: the information below, which never exceeds log 7, and the mismatch on top.",
    });
    const low = Math.min(information, top);
    const high = Math.min(information + mismatch, top);
    const [left, right] = [0.95, 1.65];
    bars
      .box([left, right], [0, low], "elbo")
      .box([left, right], [low, high], "gap")
      .line([0, right], [CAP, CAP], "ink", { width: 1.5, dash: "5 4" })
      .text(0.06, CAP, "log 7", { dy: -5 });
    if (best > 0)
      bars
        .line([0, right], [best, best], "elbo", { width: 1.5 })
        .text(0.06, best, `best ${shown(best)}`, { role: "elbo", dy: best > 1.7 ? 16 : -5 });
    const levels = spaced([(low + high) / 2, low / 2], 0.36, 0.12);
    bars
      .text(right, levels[0] ?? 0, `mismatch ${shown(mismatch)}${mismatch < LITTLE ? " ✓" : ""}`, {
        role: "gap",
        dx: 8,
        dy: 4,
        bold: true,
      })
      .text(right, levels[1] ?? 0, `information ${shown(information)}`, {
        role: "elbo",
        dx: 8,
        dy: 4,
        bold: true,
      });
    return [plane, bars];
  },

  says: ({ spread, width, best }, { information, mismatch, rate }) => {
    const sum = `rate ${shown(rate)} = information ${shown(information)} + mismatch ${shown(mismatch)} nats`;
    if (rate < 0.01) return `Collapsed, as the encoder sees it: ${sum}`;
    if (mismatch < LITTLE && information >= MUCH)
      return `Hardly a mismatch, and ${MUCH} nats are kept: ${sum}`;
    if (mismatch < LITTLE && best >= MUCH) return `Your best kept ${shown(best)}: ${sum}`;
    return `Spread ${shown(spread)}, width ${shown(width)}: ${sum}`;
  },

  handles: [
    {
      label: "The outermost code: the spread of all",
      role: "other",
      along: "x",
      at: ({ spread, width }) => [1.5 * spread, density(0, width)(0) / COUNT],
      move: (state, [x]) => recorded(state, { spread: clamp(x / 1.5, LIMITS.spread) }),
    },
    {
      label: "Its flank: the width of all",
      role: "other",
      along: "x",
      at: ({ spread, width }) => [1.5 * spread + 2 * width, density(0, width)(2 * width) / COUNT],
      move: (state, [x]) =>
        recorded(state, { width: clamp((x - 1.5 * state.spread) / 2, LIMITS.width) }),
    },
  ],
});
