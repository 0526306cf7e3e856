/** Six things to bring about, and how the numbers tell that it was done. */

import { sum } from "../numbers.js";
import { shown } from "../plot.js";

/**
 * @typedef {import("./views.js").Seen} Seen
 * @typedef {import("./training.js").Bounds} Bounds
 * @typedef {{won: boolean, says: string}} Verdict
 * @typedef {{
 *   title: string, task: string, setup: Record<string, any>, verdict: (seen: Seen) => Verdict,
 *   lesson: string,
 * }} Challenge  `setup` is what differs from the playground as it opens; the lesson is told once it
 *   is won
 */

/**
 * All rates together.
 *
 * @param {{rates: number[]}} view
 */
const total = ({ rates }) => sum(rates);

/**
 * @param {boolean} won
 * @param {string} says
 * @returns {Verdict}
 */
const verdict = (won, says) => ({ won, says: `${won ? "Done. " : ""}${says}` });

/**
 * Nothing is judged before a model has learned for some time.
 *
 * @param {number} steps
 * @param {(view: NonNullable<Seen["view"]>, seen: Seen) => Verdict} judge
 * @returns {(seen: Seen) => Verdict}
 */
function after(steps, judge) {
  return (seen) => {
    const step = seen.view?.step ?? 0;
    if (!seen.view || step < steps) {
      return verdict(false, `Judged from step ${steps.toLocaleString("en")} on.`);
    }
    return judge(seen.view, seen);
  };
}

/**
 * What was measured of a model, beside what was measured of the one that the reader kept.
 *
 * @param {(now: Bounds, kept: Bounds) => Verdict} judge
 * @returns {(seen: Seen) => Verdict}
 */
function beside(judge) {
  return after(1000, (_, { kept, bounds, options }) => {
    if (!kept) return verdict(false, "First train a model and keep its point.");
    if (options.data !== kept.data) return verdict(false, "Keep a model of the same data first.");
    if (!bounds || bounds.step < 1000) return verdict(false, "Not measured yet.");
    return judge(bounds, kept.bounds);
  });
}

/** @type {Challenge[]} */
export const CHALLENGES = [
  {
    title: "Close the gap",
    task:
      "Bring the gap below 0.02 nats in a model that has learned, with a code that is used: a rate " +
      "of at least 0.1 nats. What kind of posterior does an axis-aligned Gaussian fit that well?",
    setup: {},
    lesson:
      "With much noise a posterior is nearly the prior, round and smooth: a Gaussian fits it.",
    verdict: after(500, (view, { bounds, phases }) => {
      // Steps that the decoder has made.
      const made = phases.map(({ step, train }, i) =>
        train === "encoder" ? 0 : (phases[i + 1]?.step ?? view.step) - step,
      );
      if (!bounds || bounds.gap === null) return verdict(false, "The gap is not known.");
      if (sum(made) < 500) return verdict(false, "The decoder has to learn, too: for 500 steps.");
      const won = bounds.gap < 0.02 && total(bounds) >= 0.1;
      return verdict(won, `Gap ${shown(bounds.gap, 3)} nats, rate ${shown(total(bounds))} nats.`);
    }),
  },
  {
    title: "Collapse the code without touching β",
    task: "Bring the rate below 0.02 nats at β = 1. What else weighs the rate against the picture?",
    setup: {},
    lesson:
      "The squared error is weighed by 1 / 2σ²: a large σ makes it cheap, as a large β would.",
    verdict: after(1000, (view, { options }) => {
      const { beta, bound, freeNats, train } = options;
      const fair = beta === 1 && bound === "elbo" && freeNats === 0 && train === "both";
      if (!fair) return verdict(false, "Only with β = 1, no free nats, and both nets training.");
      return verdict(total(view) < 0.02, `Rate ${shown(total(view), 3)} nats.`);
    }),
  },
  {
    title: "Same ELBO, half the rate",
    task:
      "Train on the rings and keep the point. Then find a model whose ELBO is as good, to 0.1 nats, " +
      "with at most half the rate. What does that say about the ELBO as a judge of codes?",
    setup: { data: "rings" },
    lesson: "Two models with one ELBO, and codes of quite different use: the ELBO does not see it.",
    verdict: beside((now, kept) => {
      if (total(kept) < 1) return verdict(false, "Keep a model with a rate of 1 nat or more.");
      const better = now.elbo - kept.elbo;
      const share = total(now) / total(kept);
      const won = better > -0.1 && share <= 0.5;
      const sign = better < 0 ? "lower" : "higher";
      return verdict(
        won,
        `ELBO ${shown(Math.abs(better))} nats ${sign}, ${shown(100 * share, 0)} % of the rate.`,
      );
    }),
  },
  {
    title: "Wake z₃",
    task:
      "Three levels on the tree: z₃ stays idle. Let it tell at least half a nat about x, after " +
      "2,000 steps or more. Chapter 10 has two recipes.",
    setup: { data: "tree", levels: "3", level: "2" },
    lesson: "The model could do without z₃. Only how it was trained made it use z₃.",
    verdict: after(2000, (view, { options, bounds }) => {
      if (options.levels < 3) return verdict(false, "This needs three levels.");
      if (!bounds) return verdict(false, "Not measured yet.");
      const top = view.first === 2 ? view.information : bounds.information[2];
      const told = top ?? 0;
      return verdict(told >= 0.5, `z₃ tells ${shown(told)} nats about x.`);
    }),
  },
  {
    title: "Leave holes in the prior",
    task:
      "Good reconstructions, a distortion below −1, and yet the average of the posteriors misses " +
      "the prior by 0.6 nats: KL(q(z) ‖ p(z)) ≥ 0.6. Look at where the blue points are not.",
    setup: {},
    lesson: "Sampling starts from the prior: where no code lies, it draws what no data are like.",
    verdict: after(1000, ({ distortion, marginalKl }, { options }) => {
      if (options.levels > 1 || marginalKl === null)
        return verdict(false, "With one level, please.");
      const won = distortion < -1 && marginalKl >= 0.6;
      return verdict(
        won,
        `Distortion ${shown(distortion)}, KL(q(z) ‖ p(z)) ${shown(marginalKl)} nats.`,
      );
    }),
  },
  {
    title: "A lower ELBO and better samples",
    task:
      "Train on the tree for 2,000 steps or more and keep the point. Then find a model whose ELBO is " +
      "lower by 1 nat or more and whose samples are nearer to the data: an energy distance " +
      "smaller by 15 % or more. Samples need no encoder. Which bound forgives a bad one?",
    setup: { data: "tree" },
    lesson:
      "The bound of K samples is near log p(x) with a poor q: the model gains, the ELBO pays.",
    verdict: beside((now, kept) => {
      if (kept.step < 2000) {
        const step = kept.step.toLocaleString("en");
        return verdict(false, `The kept point was measured at step ${step}: keep a later one.`);
      }
      const lower = kept.elbo - now.elbo;
      const share = now.energyDistance / kept.energyDistance;
      const side = lower < 0 ? "higher" : "lower";
      return verdict(
        lower >= 1 && share <= 0.85,
        `ELBO ${shown(Math.abs(lower))} nats ${side}, ${shown(100 * share, 0)} % of the energy distance.`,
      );
    }),
  },
];
