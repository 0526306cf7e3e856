/**
 * One training: its ELBO, what its code tells, and the question of when to stop.
 *
 * Nothing is trained here: the numbers are those that a script has stored, of three seeds at
 * thirteen looks. Until the reader has guessed, the figure ends where the code tells most.
 */

import { figure } from "../figure.js";
import { LOOKS, at, atStep, called, play, rows, slider } from "../looks.js";
import { Plot, shown } from "../plot.js";

/** Until the reader has guessed, no look after this one is shown. */
const BEFORE = 7;
const AFTER = Array.from({ length: LOOKS - 1 - BEFORE }, (_, k) => BEFORE + 1 + k);

export default figure({
  start: { look: BEFORE },

  compute: ({ look }, { elbo, information, steps }) => ({
    step: steps[look],
    elbo: at(elbo, look),
    information: at(information, look),
  }),

  draw({ look }, _, { elbo, information, steps, ceiling }, { guessing }) {
    const last = guessing ? Math.min(look, BEFORE) : look;
    const step = called(steps[last]);
    const score = new Plot({
      x: [0, LOOKS - 0.7],
      y: [-28, -6],
      width: 320,
      height: 260,
      title: "the ELBO",
      xlabel: "steps of training",
      ylabel: "nats",
      ticks: [0, 5],
      alt: `The ELBO of three runs, rising to step ${step}, under a line at the mean log p_data.`,
    });
    const told = new Plot({
      x: [0, LOOKS - 0.7],
      y: [0, 4.5],
      width: 320,
      height: 260,
      title: "what the code tells of a picture",
      xlabel: "steps of training",
      ylabel: "nats",
      ticks: [0, 5],
      alt: `What the codes of the three runs tell, to step ${step}.`,
    });
    score
      .line([0, LOOKS - 0.7], [ceiling, ceiling], "prior", { width: 1.5, dash: "4 4" })
      .text(0, ceiling, "mean log p_data", { role: "prior", dx: 4, dy: -6 });
    told
      .line([0, LOOKS - 0.7], [Math.LN2, Math.LN2], "prior", { width: 1.5, dash: "4 4" })
      .text(0, Math.LN2, "yes or no", { role: "prior", dx: 4, dy: -6 });
    for (const [plot, values, role] of /** @type {const} */ ([
      [score, elbo, "elbo"],
      [told, information, "q"],
    ])) {
      for (const mark of [0, 4, 8, 12]) {
        const anchor = mark === 12 ? "end" : "middle";
        plot.text(mark, plot === score ? -28 : 0, called(steps[mark]), { anchor, dy: 15 });
      }
      for (const ys of rows(values)) {
        const [x, y] = [[...ys.keys()].slice(0, last + 1), ys.slice(0, last + 1)];
        plot.line(x, y, role, { width: 1.5 }).points(x.slice(-1), y.slice(-1), role, { size: 9 });
      }
    }
    return [score, told];
  },

  says: ({ look }, { step, elbo, information }, { guessing }) => {
    if (guessing && look > BEFORE)
      return "What comes after step 320 is shown once you have guessed.";
    const kinds = Math.exp(information);
    const much =
      kinds < 2 ? "less than one yes or no" : `as much as one of ${shown(kinds, 0)} kinds`;
    return `Step ${called(step)}: ELBO ${shown(elbo)}; the code tells ${shown(information)} nats, ${much}.`;
  },

  controls: [slider],

  play,

  guess: {
    kind: "curve",
    question:
      "The ELBO goes on rising. What does the code tell from here on? Draw it with the ring.",
    label: "Your sketch of what the code tells",
    panel: 1,
    unit: "nats",
    digits: 1,
    xs: AFTER,
    start: 3.4,
    at: atStep,
    truth: (_state, _values, { information }) => AFTER.map((look) => at(information, look)),
  },
});
