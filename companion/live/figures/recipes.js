/**
 * What a code tells under six ways to train it: now, and on the way there.
 *
 * Nothing is trained here: the numbers are those that a script has stored, of three seeds at
 * thirteen looks. The reader guesses what each recipe has left at the end.
 */

import { figure } from "../figure.js";
import { LOOKS, at, called, limit, play, rows, slider } from "../looks.js";
import { Plot, shown } from "../plot.js";

/** Until the reader has guessed, no look after this one is shown. */
const BEFORE = 5;

/** What a recipe is called under its bar, and its colour.
 *
 * @type {[string, string, import("../plot.js").Role][]}
 */
const RECIPES = [
  ["plain", "plain", "ink"],
  ["warm-up", "warm-up", "q"],
  ["aggressive", "extra steps", "posterior"],
  ["committed rate", "committed rate", "elbo"],
  ["free bits", "free bits", "gap"],
  ["weak decoder", "weak decoder", "model"],
];

/**
 * The means over the seeds of all recipes at one look.
 *
 * @param {any} runs
 * @param {number} look
 */
const told = (runs, look) => RECIPES.map(([name]) => at(runs[name], look));

export default figure({
  start: { look: BEFORE },

  compute: ({ look }, { runs, steps }) => ({
    step: steps[look],
    told: told(runs, look),
    early: told(runs, Math.min(look, BEFORE)),
  }),

  draw({ look }, _, { runs, steps, cap }, { guessing }) {
    const last = guessing ? Math.min(look, BEFORE) : look;
    const bars = new Plot({
      x: [-0.5, RECIPES.length - 0.5],
      y: [0, 7.5],
      width: 400,
      height: 280,
      title: `what the codes tell at step ${called(steps[last])}`,
      xlabel: " ",
      ylabel: "I(x; z) in nats",
      ticks: [0, 6],
      alt: `What the code tells under each of six recipes, at step ${called(steps[last])}.`,
    });
    const now = told(runs, last);
    RECIPES.forEach(([, name, role], k) => {
      bars
        .box([k - 0.32, k + 0.32], [0, now[k] ?? 0], role, { opacity: 0.75 })
        .text(k === 5 ? 5.5 : k, 0, name, {
          anchor: k === 5 ? "end" : "middle",
          dy: k % 2 ? 30 : 15,
        })
        .text(k, now[k] ?? 0, shown(now[k] ?? 0, 1), { anchor: "middle", dy: -5 });
    });

    const way = new Plot({
      x: [0, LOOKS - 1],
      y: [0, 7.5],
      width: 270,
      height: 280,
      title: "on the way, three seeds",
      xlabel: "steps of training",
      ticks: [0, 6],
      alt: `What the codes told on the way to step ${called(steps[last])}.`,
    });
    for (const mark of [0, 4, 8, 12]) {
      way.text(mark, 0, called(steps[mark]), { anchor: mark === 12 ? "end" : "middle", dy: 15 });
    }
    limit(way, cap);
    const looks = Array.from({ length: last + 1 }, (_, i) => i);
    for (const [name, , role] of RECIPES) {
      for (const k of [0, 1, 2]) {
        way.line(looks, rows(runs[name])[k]?.slice(0, last + 1) ?? [], role, { width: 1.5 });
      }
    }
    return [bars, way];
  },

  says: ({ look }, { step, told: now, early }, { guessing }) => {
    if (guessing && look > BEFORE)
      return "What comes after step 80 is shown once you have guessed.";
    const nats = guessing ? early : now;
    const parts = RECIPES.map(([, name], k) => `${name} ${shown(nats[k] ?? 0)}`);
    return `Step ${called(step)}: ${parts.join(", ")} nats.`;
  },

  controls: [slider],

  play,

  guess: {
    kind: "curve",
    question:
      "What does each code tell after 10,240 steps? Draw it over the bars with the ring, from left to right.",
    label: "Your sketch of the end",
    unit: "nats",
    digits: 1,
    xs: RECIPES.map((_, k) => k),
    start: 3,
    at: (x) => `“${RECIPES[x]?.[1]}”`,
    truth: (_state, _values, { runs }) => told(runs, LOOKS - 1),
  },
});
