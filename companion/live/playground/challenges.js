/** Six things to bring about, and how the numbers tell that it was done. */

import { shown } from "../plot.js";

/**
 * @typedef {import("./views.js").Seen} Seen
 * @typedef {{won: boolean, says: string}} Verdict
 * @typedef {{
 *   title: string, task: string, setup: Record<string, any>,
 *   verdict: (seen: Seen, noted: Record<string, any>) => Verdict,
 * }} Challenge
 */

/** @type {Challenge[]} */
export const CHALLENGES = [
  {
    title: "Close the gap",
    task: "Bring the gap below 0.02 nats, after at least 500 steps.",
    setup: {},
    verdict: ({ bounds }) => {
      if (!bounds || bounds.gap === null) return { won: false, says: "The gap is not known yet." };
      const won = bounds.step >= 500 && bounds.gap < 0.02;
      return { won, says: `The gap is ${shown(bounds.gap, 3)} nats after ${bounds.step} steps.` };
    },
  },
];
