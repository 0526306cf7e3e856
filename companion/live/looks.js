/**
 * Stored training runs: of three seeds at thirteen looks, and the way from look to look.
 */

import { mean } from "./numbers.js";

export const LOOKS = 13;

/** @param {number} step */
export const called = (step) =>
  step < 1000 ? `${step}` : `${Math.floor(step / 1000)},${`${step % 1000}`.padStart(3, "0")}`;

/**
 * Three seeds, a row each.
 *
 * @param {number[]} values
 */
export const rows = (values) => [0, 1, 2].map((k) => values.slice(k * LOOKS, (k + 1) * LOOKS));

/**
 * The mean over the seeds at one look.
 *
 * @param {number[]} values
 * @param {number} look
 */
export const at = (values, look) => mean(rows(values).map((row) => row[look] ?? NaN));

/**
 * The most information that the pictures of a look can show.
 *
 * @param {import("./plot.js").Plot} plot
 * @param {number} cap
 */
export const limit = (plot, cap) =>
  plot
    .line([0, LOOKS - 1], [cap, cap], "prior", { width: 1, dash: "2 3" })
    .text(0, cap, "no estimate is higher", { dx: 4, dy: -4 });

/**
 * The step of training at a look: 0, 5, and from then on twice the one before.
 *
 * @param {number} look
 */
const step = (look) => called(look ? 5 * 2 ** (look - 1) : 0);

/**
 * What a guess says of a look: at which step it was.
 *
 * @param {number} look
 */
export const atStep = (look) => `step ${step(look)}`;

/** What lets a figure's look be chosen, by its step, and go on by itself. */
export const slider = {
  kind: /** @type {const} */ ("slider"),
  name: "look",
  label: "step of training",
  min: 0,
  max: LOOKS - 1,
  step: 1,
  text: step,
};

/** @type {NonNullable<import("./figure.js").Spec["play"]>} */
export const play = {
  label: "Train",
  next: "Next look",
  step: ({ look }) => (look >= LOOKS - 1 ? null : { look: look + 1 }),
  again: () => ({ look: 0 }),
  every: 450,
};
