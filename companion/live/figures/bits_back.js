/**
 * Bits back: one throw is sent, step by step, and the bits that picked the die are regained.
 *
 * Three bars are in bits: what another message lends, what travels, and what your friend writes
 * down. Beside them the net length for each die, as wide as q picks it: the area is minus the ELBO.
 */

import { figure } from "../figure.js";
import { stacked } from "../marks.js";
import { sum } from "../numbers.js";
import { Plot, shown } from "../plot.js";

const LAST = 4;
const WAITING = 4;
const MOST = 3.6;
/** At the posterior the handle catches: a bit more than half of a key's step. */
const CATCH = 0.006;
/** @typedef {0 | 1} Die */
const NAMES = ["A", "B"];

/**
 * The net length for either die, their average, and the q that makes it least.
 *
 * @param {{prior: number[], likelihood: number[]}} data
 * @param {number} share  of die A in q
 */
function lengths({ prior, likelihood }, share) {
  const bits = (/** @type {number | undefined} */ p) => -Math.log2(p ?? 1);
  const dice = [share, 1 - share].map((q, z) => {
    const [die, face, back] = [bits(prior[z]), bits(likelihood[z]), bits(q)];
    return { share: q, die, face, back, net: die + face - back };
  });
  const joint = dice.map(({ die, face }) => 2 ** -(die + face));
  return {
    dice,
    best: (joint[0] ?? 0) / sum(joint), // the posterior of die A
    average: sum(dice.map(({ share, net }) => share * net)),
    least: bits(sum(joint)), // −log₂ p(x)
  };
}

export default figure({
  start: { step: 1, die: "A", q: 0.5 },
  // Within these, no net length of the chapter is below zero.
  limits: { step: [0, LAST], q: [0.16, 0.9] },

  compute: ({ q }, data) => lengths(data, q),

  draw({ step, die, q }, { dice, average }, _, { guessing }) {
    const at = NAMES.indexOf(die);
    const now = dice[at];
    const bars = new Plot({
      x: [0, WAITING],
      y: [0, 4],
      width: 400,
      height: 290,
      xlabel: "bits",
      ticks: [4, 0],
      alt: "Bars in bits: those of the other message that wait with you, what you send, what your friend writes down, and the net length.",
    });
    /** @type {(row: number, from: number, to: number, role: any, words: string) => void} */
    const bar = (row, from, to, role, words) => {
      bars.box([from, to], [row + 0.12, row + 0.55], role, { opacity: 0.85 });
      // The sum below is longer than its bar may be: it begins where the bar does.
      const begin = row ? (from + to) / 2 : from;
      const anchor = row ? "middle" : "start";
      const dx = row ? 0 : 4;
      bars.text(begin, row + 0.55, words, { role, anchor, dx, dy: -4, bold: true });
    };
    const named = (/** @type {number} */ row, /** @type {string} */ words) =>
      bars.text(0, row + 0.86, words, { dx: 4 });
    named(3, "another message waits with you");
    bars.box([0, WAITING], [3.12, 3.55], "ink", { opacity: 0.15 });
    named(2, "you send");
    named(1, "your friend writes down");
    named(0, "net length");
    if (step >= 1) bar(3, 0, now.back, "q", `read ${shown(now.back)}`);
    if (step >= 2) bar(2, 0, now.die, "prior", `die ${shown(now.die)}`);
    if (step >= 3) bar(2, now.die, now.die + now.face, "model", `face ${shown(now.face)}`);
    if (step >= LAST) {
      bar(1, 0, now.back, "q", `back ${shown(now.back)}`);
      bar(
        0,
        0,
        now.net,
        "ink",
        `${shown(now.die + now.face)} − ${shown(now.back)} = ${shown(now.net)}`,
      );
    }

    const columns = new Plot({
      x: [0, 1],
      y: [0, MOST],
      width: 230,
      height: 290,
      title: " ",
      xlabel: "how often q picks the die",
      ylabel: guessing ? "length so far, in bits" : "net length, in bits",
      ticks: [2, 4],
      alt: "Two columns, as wide as q picks each die and as high as its length, so far or, once compared, net; then a dashed line at their average, minus the ELBO.",
    });
    for (const [z, { share, die, face, net }] of dice.entries()) {
      const sides = /** @type {[number, number]} */ (z ? [1 - share, 1] : [0, share]);
      if (guessing && z !== at) continue; // what is not sent yet is still a question
      // Compared, both are net, whatever is sent: their area is the average.
      const high = guessing ? [0, 0, die, die + face, net][Math.round(step)] : net;
      stacked(columns, sides, [[high ?? net, "ink"]], { opacity: z === at ? 0.4 : 0.18 })
        .text((sides[0] + sides[1]) / 2, 0, `die ${NAMES[z]}`, { anchor: "middle", dy: -22 })
        .text((sides[0] + sides[1]) / 2, 0, shown(high ?? net), { anchor: "middle", dy: -7 });
    }
    columns.line([q, q], [0, MOST], "q", { width: 1.5 });
    if (!guessing) {
      columns
        .line([0, 1], [average, average], "elbo", { width: 2, dash: "6 4" })
        .text(1, MOST, `average ${shown(average)}`, {
          role: "elbo",
          anchor: "end",
          dy: -6,
          bold: true,
        });
    }
    return [bars, columns];
  },

  says({ step, die, q }, { dice, average, least }, { guessing }) {
    const { die: first, face, back, net } = dice[NAMES.indexOf(die)];
    const nats = average * Math.LN2;
    return (
      [
        "Face 2 was thrown. The first bits of another message wait with you",
        back === 1
          ? `1. One waiting bit picks die ${die}: 1.00 bits read`
          : `1. Waiting bits pick die ${die} in the code of q: ${shown(back)} bits read`,
        `2. You send die ${die} with the prior's code: ${shown(first)} bits`,
        `3. You send face 2 with the code of die ${die}: ${shown(face)} bits`,
        `4. Your friend knows face 2, hence q, and writes down the ${shown(back)} bits. Net ${shown(net)}` +
          (guessing
            ? " bits"
            : `; on average ${shown(average)} bits, or ${shown(nats, 3)} nats = −ELBO` +
              (average - least < 1e-9 ? ", the least of any q" : ` at q(A) = ${shown(q)}`)),
      ][Math.round(step)] ?? ""
    );
  },

  handles: [
    {
      label: "q: how often it picks die A",
      role: "q",
      panel: 1,
      along: "x",
      at: ({ q }) => [q, 0.9 * MOST],
      move: (_, [x], data) => {
        const { best } = lengths(data, x);
        // Another q changes what comes back: the throw is sent to its end.
        return { q: Math.abs(x - best) < CATCH ? best : x, step: LAST };
      },
    },
  ],

  controls: [
    {
      kind: "choice",
      name: "die",
      label: "The bits pick die",
      options: [
        ["A", "A"],
        ["B", "B"],
      ],
    },
  ],

  play: {
    label: "Send",
    step: ({ step }) => (step < LAST ? { step: Math.round(step) + 1 } : null),
    again: () => ({ step: 0 }),
    every: 1600,
  },

  guess: {
    kind: "number",
    question:
      "One waiting bit picks the die, and comes back. Over both dice, how many bits does face 2 cost on average?",
    label: "Bits for face 2",
    unit: "bits",
    min: 0,
    max: 4,
    start: 3,
    // One bit picks the die: the question is of this q, wherever the handle has gone.
    truth: (_state, _values, data) => lengths(data, 0.5).average,
  },
});
