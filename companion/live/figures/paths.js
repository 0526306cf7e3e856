/**
 * Training runs as paths in the plane of rate and distortion, and what their codes tell on the way.
 *
 * Nothing is trained here: the numbers are those that a script has stored, of three seeds at
 * thirteen looks. A reader chooses the run and the look.
 */

import { figure } from "../figure.js";
import { LOOKS, at, called, limit, play, rows, slider } from "../looks.js";
import { Plot, shown } from "../plot.js";

/** Until the reader has guessed, no look after this one is shown. */
const BEFORE = 5;

export default figure({
  start: { run: "scratch, plain", look: BEFORE },

  compute({ run, look }, { runs, steps }) {
    const { rate, distortion, information } = runs[run];
    return {
      step: steps[look],
      rate: at(rate, look),
      distortion: at(distortion, look),
      elbo: -at(rate, look) - at(distortion, look),
      information: at(information, look),
      early: at(information, Math.min(look, BEFORE)),
    };
  },

  draw({ run, look }, { step }, { runs, steps, ceiling, cap }, { guessing }) {
    const { rate, distortion, information } = runs[run];
    const last = guessing ? Math.min(look, BEFORE) : look;
    const wide = Math.max(...rate) > 6;
    const most = wide ? 20 : 5.5; // nats of rate
    const plane = new Plot({
      x: [0, most],
      y: wide ? [0, 27] : [6, 17],
      width: 380,
      height: 300,
      title: "each line: one ELBO",
      xlabel: "rate R (nats)",
      ylabel: "distortion D (nats)",
      ticks: [6, 6],
      alt: `The plane of rate and distortion with lines of equal ELBO, and the paths of three runs to step ${called(steps[last])}.`,
    });
    for (let more = 0; more < 9; more++) {
      const level = more * (wide ? 3 : 1) - ceiling;
      plane.line(
        [0, most],
        [level, level - most],
        "prior",
        more ? { width: 1, dash: "2 3" } : { width: 3 },
      );
    }
    const [left, right] = [rows(rate), rows(distortion)];
    left.forEach((xs, k) => {
      const [x, y] = [xs.slice(0, last + 1), (right[k] ?? []).slice(0, last + 1)];
      plane.line(x, y, "q", { width: 1.5 }).points(x, y, "q", { size: 4 });
      plane.points(x.slice(-1), y.slice(-1), "q", { size: 10 });
    });
    plane.text(0, -ceiling, "collapse", { bold: true, dx: 6, dy: 36 });
    const told = new Plot({
      x: [0, LOOKS - 1],
      y: [0, 7.5],
      width: 270,
      height: 300,
      title: "what the code tells: I(x; z)",
      xlabel: "steps of training",
      ylabel: "nats",
      ticks: [0, 6],
      alt: `The information of the code in three runs to step ${called(steps[last])}.`,
    });
    for (const mark of [0, 4, 8, 12]) {
      told.text(mark, 0, called(steps[mark]), { anchor: mark === 12 ? "end" : "middle", dy: 15 });
    }
    limit(told, cap);
    for (const ys of rows(information)) {
      const [x, y] = [[...ys.keys()].slice(0, last + 1), ys.slice(0, last + 1)];
      told.line(x, y, "q", { width: 1.5 }).points(x, y, "q", { size: 4 });
      told.points(x.slice(-1), y.slice(-1), "q", { size: 10 });
    }
    if (!guessing)
      told.text(12, 7.5, `step ${called(step)}`, { anchor: "end", dy: 14, bold: true });
    return [plane, told];
  },

  says: ({ look }, { step, rate, elbo, information, early }, { guessing }) => {
    if (guessing && look > BEFORE)
      return "What comes after step 80 is shown once you have guessed.";
    if (guessing) return `Step ${called(step)}: the code tells ${shown(early)} nats.`;
    const nats = `the code tells ${shown(information)} nats at a rate of ${shown(rate)}`;
    return `Step ${called(step)}: ELBO ${shown(elbo)}; ${nats}.`;
  },

  controls: [
    {
      kind: "choice",
      name: "run",
      label: "recipe",
      menu: true,
      options: [
        ["scratch, plain", "plain, from scratch"],
        ["scratch, warm-up", "warm-up, from scratch"],
        ["scratch, aggressive", "extra encoder steps, from scratch"],
        ["scratch, committed rate", "committed rate, from scratch"],
        ["scratch, free bits", "free bits, from scratch"],
        ["scratch, weak decoder", "weak decoder, from scratch"],
        ["pretrained, plain", "plain, pretrained decoder"],
        ["pretrained, warm-up", "warm-up, pretrained decoder"],
        ["pretrained, committed rate", "committed rate, pretrained decoder"],
        ["pretrained, free bits", "free bits, pretrained decoder"],
      ],
    },
    slider,
  ],

  play,

  guess: {
    kind: "point",
    question:
      "Where does plain training from scratch end after 10,240 steps? Drag the ring in the plane.",
    label: "Your guess of the end",
    unit: "nats",
    digits: 1,
    start: [2.5, 13],
    truth: (_state, _values, { runs }) => {
      const { rate, distortion } = runs["scratch, plain"];
      return [at(rate, LOOKS - 1), at(distortion, LOOKS - 1)];
    },
  },
});
