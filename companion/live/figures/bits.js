/**
 * A code of one bit for data of one bit: two errors, and their place in the plane of rate and
 * distortion.
 *
 * x and z are fair bits. The encoder says z ≠ x with one probability, the decoder draws x ≠ z with
 * another. The model's x is a fair coin too, so that the ELBO is −log 2 less the inference error.
 */

import { figure } from "../figure.js";
import { clamp } from "../numbers.js";
import { Plot, shown } from "../plot.js";

const LOG2 = Math.log(2);
/** So many nats under the ceiling still count as on the line, which has so many parts. */
const NEAR = 0.005;
const PARTS = 10;

const xlog = (/** @type {number} */ x, /** @type {number} */ y) => (x > 0 ? x * Math.log(y) : 0);

/**
 * @param {any} state
 */
function parts({ encoder, decoder }) {
  const rate = LOG2 + xlog(encoder, encoder) + xlog(1 - encoder, 1 - encoder);
  const distortion = -xlog(encoder, decoder) - xlog(1 - encoder, 1 - decoder);
  return { rate, distortion, elbo: -rate - distortion, lost: rate + distortion - LOG2 };
}

/** Which part of the line lies at a rate: 0 at the collapsed end. */
const part = (/** @type {number} */ rate) => Math.min(Math.floor((rate / LOG2) * PARTS), PARTS - 1);

/**
 * A state that was moved, with the parts of the line that the reader has walked, as bits.
 *
 * @param {any} state
 * @param {any} change
 */
function walked(state, change) {
  const [before, now] = [parts(state), parts({ ...state, ...change })];
  if (now.lost > NEAR) return change;
  const here = part(now.rate);
  const from = before.lost > NEAR ? here : part(before.rate);
  let { seen } = state;
  for (let k = Math.min(here, from); k <= Math.max(here, from); k++) seen |= 1 << k;
  return { ...change, seen };
}

const count = (/** @type {number} */ seen) =>
  Array.from({ length: PARTS }, (_, k) => (seen >> k) & 1).filter(Boolean).length;

const percent = (/** @type {number} */ share) => `${shown(100 * share, share < 0.0995 ? 1 : 0)} %`;

/** @type {Record<"encoder" | "decoder" | "seen", [number, number]>} */
const LIMITS = { encoder: [0, 0.5], decoder: [0.001, 0.5], seen: [0, 2 ** PARTS - 1] };

export default figure({
  start: { encoder: 0.03, decoder: 0.2, seen: 0 },
  limits: LIMITS,

  compute: parts,

  draw({ encoder, decoder, seen }, { rate, distortion, elbo, lost }) {
    const errors = new Plot({
      x: [0, 0.5],
      y: [0, 0.5],
      width: 300,
      height: 290,
      title: "how often each errs",
      xlabel: "encoder: z ≠ x",
      ylabel: "decoder: x ≠ z",
      ticks: [5, 5],
      alt: "The square of the encoder's and the decoder's error, each from 0 to one half, with a ring at the present pair.",
    });
    errors
      .line([encoder, encoder], [0, decoder], "q", { width: 1.5, dash: "3 4" })
      .line([0, encoder], [decoder, decoder], "model", { width: 1.5, dash: "3 4" });

    const plane = new Plot({
      x: [0, 0.8],
      y: [0, 0.9],
      width: 350,
      height: 290,
      title: "each line: one ELBO",
      xlabel: "rate R (nats)",
      ylabel: "distortion D (nats)",
      ticks: [4, 4],
      alt: "The plane of rate and distortion, with the line of the highest ELBO from collapse to identity and the present model.",
    });
    const [left, right] = [clamp(-elbo - 0.9, [0, 0.8]), Math.min(-elbo, 0.8)];
    plane
      .line([left, right], [-elbo - left, -elbo - right], "gap", { width: 1.5, dash: "3 4" })
      .line([0, LOG2], [LOG2, 0], "prior", { width: 3 });
    for (let k = 0; k < PARTS; k++) {
      if (!((seen >> k) & 1)) continue;
      const [low, high] = [(k * LOG2) / PARTS, ((k + 1) * LOG2) / PARTS];
      plane.line([low, high], [LOG2 - low, LOG2 - high], "elbo", { width: 6 });
    }
    return [
      errors,
      plane
        .text(0, 0.44, "collapse", { bold: true, dx: 8 })
        .text(LOG2, 0, "identity", { bold: true, anchor: "end", dx: -30, dy: -8 })
        .points([rate], [Math.min(distortion, 0.9)], lost > NEAR ? "gap" : "elbo", { size: 13 }),
    ];
  },

  says: ({ encoder, decoder, seen }, { rate, elbo, lost }) => {
    const told = `the code tells ${shown(rate)} nats`;
    if (lost > NEAR)
      return `The encoder errs in ${percent(encoder)}, the decoder in ${percent(decoder)}: ELBO ${shown(elbo, 3)}, ${shown(lost, 3)} under the ceiling; ${told}.`;
    const way = count(seen);
    const done = way === PARTS ? "You have walked the whole line" : `Walked: ${way} of ${PARTS}`;
    return `On the line: ELBO ${shown(elbo, 3)}; ${told}. ${done}.`;
  },

  handles: [
    {
      label: "How often encoder and decoder err",
      role: "other",
      at: ({ encoder, decoder }) => [encoder, decoder],
      move: (state, [x, y]) =>
        walked(state, {
          encoder: clamp(x, LIMITS.encoder),
          decoder: clamp(y, LIMITS.decoder),
        }),
    },
  ],
});
