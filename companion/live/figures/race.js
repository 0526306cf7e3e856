/**
 * A hierarchy of three levels that learns in the page: which recipe makes its top level know anything?
 *
 * The model lives in a worker, `playground/race.js`. Here are the choices that make a recipe, what
 * the levels know over time, and a record of the runs that the reader made.
 */

import * as control from "../controls.js";
import { accepted, colour, onTheme, panel } from "../figure.js";
import { named } from "../marks.js";
import { along, mean } from "../numbers.js";
import { Plot, escaped, shown } from "../plot.js";
import { node } from "../playground/data.js";
import { CHANCE, STEPS, serve } from "../playground/race.js";
import { background } from "../worker.js";

/**
 * @typedef {import("../playground/race.js").Look} Look
 * @typedef {import("../playground/race.js").Recipe} Recipe
 * @typedef {{recipe: Recipe, looks: Look[], result: Look | null}} Run
 */

/** @type {import("../controls.js").Control[]} */
const CONTROLS = [
  choice("encoder", "encoder", ["bottom-up", "top-down"]),
  choice("weights", "weights of the rates", ["at once", "warm-up", "level by level"]),
  choice("free", "free nats a level", ["0", "1"]),
];

/** @type {import("../figure.js").Spec} */
const spec = {
  start: { encoder: "bottom-up", weights: "at once", free: "0" },
  controls: CONTROLS,
  compute: () => ({}),
  draw: () => [],
  says: () => "",
};

/** Of each level: its name, and the colour that it has in the playground, too. */
const LEVELS = /** @type {[string, import("../plot.js").Role][]} */ ([
  ["z₁", "q"],
  ["z₂", "posterior"],
  ["z₃", "model"],
]);
/** A share of this size and more is called awake: half as much again as chance, as in chapter 10. */
const AWAKE = 1.5 * CHANCE;
/** What is told apart from chance: shares of some thousand draws of a thousand points. */
const ASLEEP = CHANCE + 0.05;
/** Where the axis of the rates ends: as long as they weigh nothing, they may be larger. */
const MOST = 12;
/** Milliseconds between two looks, and for readers who want little motion. */
const EVERY = 200;
const SELDOM = 2000;

/** One change to the plain recipe each: what the reader bets on. */
const BETS = ["top-down", "warm-up", "level by level", "1 free nat"];

/**
 * @param {string} name
 * @param {string} label
 * @param {string[]} values
 * @returns {import("../controls.js").Control}
 */
function choice(name, label, values) {
  return { kind: "choice", name, label, options: values.map((value) => [value, value]) };
}

const percent = (/** @type {number} */ share) => `${Math.round(100 * share)}\u00a0%`;

/** @param {Recipe} recipe */
function called({ encoder, weights, free }) {
  return `${encoder}, ${weights}, ${free === "0" ? "no free nats" : "1 free nat"}`;
}

/**
 * What a run has shown of its top level.
 *
 * @param {Look} look
 */
export function verdict({ share, rates, elbo }) {
  const [, , top = NaN] = share;
  const found = `redrawing below it finds the cluster in ${percent(top)} of the draws`;
  const rest = `Its rate is ${shown(rates[2] ?? NaN, 1)} nats, the bound ${shown(elbo)}.`;
  if (top < ASLEEP) return `z₃ sleeps: ${found}, as chance does. ${rest}`;
  if (top < AWAKE) return `z₃ is half asleep: ${found}, chance in ${percent(CHANCE)}. ${rest}`;
  return `z₃ is awake: ${found}, chance in ${percent(CHANCE)}. ${rest}`;
}

/**
 * What the stored runs say of the bets: shares of several seeds each, by the name of a bet.
 *
 * @param {Record<string, ArrayLike<number>>} stored
 * @param {string} bet
 */
export function settled(stored, bet) {
  const means = BETS.map((name) => ({ name, share: mean(stored[name] ?? [NaN]) }));
  means.sort((a, b) => b.share - a.share);
  const best = means[0]?.name ?? "";
  const all = means.map(({ name, share }) => `${name} ${percent(share)}`).join(", ");
  return (
    `${bet === best ? "Yes" : `No, it is “${best}”`}: in longer runs of a script z₃ finds the cluster ` +
    `in these shares of the draws: ${all}. Now see it happen, and watch the bound.`
  );
}

/**
 * Three panels: what the levels know, their rates, and where points land whose z_3 alone is kept.
 *
 * @param {Run | null} run
 * @param {Run[]} before  runs that are over
 */
export function panels(run, before) {
  const looks = run ? [...run.looks, ...(run.result ? [run.result] : [])] : [];
  const steps = looks.map(({ step }) => step);
  const last = looks[looks.length - 1];
  const x = /** @type {[number, number]} */ ([0, STEPS]);
  const now = LEVELS.map(
    ([name], l) => `${name} ${last ? shown(last.share[l] ?? NaN) : "not trained"}`,
  ).join(", ");
  const knows = new Plot({
    x,
    y: [0, 1.04],
    width: 236,
    height: 250,
    title: " ",
    xlabel: "steps of training",
    ylabel: "right cluster, this level kept",
    ticks: [4, 5],
    alt: `Share of draws in the right cluster with one level kept: ${now}. Chance is a third.`,
  });
  knows.rule({ y: CHANCE }, "ink", { dash: "5 4" });
  for (const one of before) {
    if (one === run) continue;
    const old = [...one.looks, ...(one.result ? [one.result] : [])];
    knows.line(
      old.map(({ step }) => step),
      old.map(({ share }) => share[2] ?? NaN),
      "model",
      { width: 1.2, opacity: 0.35 },
    );
  }
  knows.text(STEPS, CHANCE, "chance", { anchor: "end", dx: -4, dy: 16 });

  const all = looks.flatMap(({ rates }) => rates);
  const rates = new Plot({
    x,
    y: [Math.min(0, ...all) * 1.08, Math.min(MOST, Math.max(3, ...all) * 1.08)],
    width: 236,
    height: 250,
    title: " ",
    xlabel: "steps of training",
    ylabel: "rate, nats",
    ticks: [4, 6],
    alt: `Rates of the levels: ${LEVELS.map(([name], l) => `${name} ${shown(last?.rates[l] ?? 0, 1)}`).join(", ")} nats.`,
  });
  rates.rule({ y: 0 }, "ink", { width: 1, opacity: 0.5 });
  for (const l of [0, 1, 2]) {
    const role = LEVELS[l]?.[1] ?? "ink";
    const width = l === 2 ? 3.5 : 2;
    knows.line(
      steps,
      looks.map(({ share }) => share[l] ?? NaN),
      role,
      { width },
    );
    rates.line(
      steps,
      looks.map((look) => look.rates[l] ?? NaN),
      role,
      { width },
    );
  }
  const names = (
    /** @type {ArrayLike<number> | undefined} */ values,
    /** @type {number} */ digits,
  ) =>
    LEVELS.map(([name, role], l) => {
      const words = values ? `${name} ${shown(values[l] ?? NaN, digits)}` : name;
      return /** @type {[string, typeof role]} */ ([words, role]);
    });
  named(knows, names(last?.share, 2));
  named(rates, names(last?.rates, 1));

  const plane = new Plot({
    x: [-3.4, 3.4],
    y: [-3, 4],
    width: 165,
    height: 250,
    equal: true,
    bare: true,
    title: "z₃ kept, rest redrawn",
    alt: last
      ? "Points of the top cluster, redrawn with their z₃ alone kept, over the tree's 27 leaves."
      : "The tree's 27 leaves in three clusters.",
  });
  const thirds = [0, 1, 2];
  const leaves = thirds.flatMap((a) => thirds.flatMap((b) => thirds.map((c) => node([a, b, c]))));
  plane.points(
    leaves.map(([across]) => across),
    leaves.map(([, up]) => up),
    "ink",
    { size: 13, opacity: 0.18 },
  );
  if (last) {
    plane.points(along(last.landed, 0), along(last.landed, 1), "model", { size: 4, opacity: 0.75 });
  }
  return [knows, plane, rates];
}

/**
 * The runs that are over, as rows of a table; the last one first.
 *
 * @param {Run[]} runs
 */
function rows(runs) {
  return runs
    .map(({ recipe, result }, i) => {
      const share = result?.share[2] ?? NaN;
      const state = share < ASLEEP ? "asleep" : share < AWAKE ? "half" : "awake";
      return (
        `<tr data-state="${state}"><td>${i + 1}</td><td>${escaped(called(recipe))}</td>` +
        `<td>${percent(share)}</td><td>${shown(result?.elbo ?? NaN)}</td></tr>`
      );
    })
    .reverse()
    .join("");
}

/**
 * All of it as text.
 *
 * @param {any} data
 * @param {string} id
 * @param {(pixels: import("../plot.js").Pixels) => string} picture
 * @param {Record<string, any>} [state]
 */
function frame(data, id, picture, state = spec.start) {
  const bets = BETS.map(
    (bet) =>
      `<label><input type="radio" name="${id}-bet" value="${bet}" autocomplete="off">` +
      `<span>${bet}</span></label>`,
  );
  const guess = data?.["stored"]
    ? `<div class="live-guess"><p><strong>Guess first.</strong> In the plain recipe below z₃ sleeps. ` +
      `Which one change wakes it best?</p>` +
      `<fieldset class="live-choice"><legend>my bet</legend>${bets.join("")}</fieldset>` +
      `<button type="button" data-guess disabled>Compare</button>` +
      `<output class="live-verdict" data-bet></output></div>`
    : "";
  return (
    guess +
    `<div class="live-controls">${control.markup(CONTROLS, state, id)}` +
    `<div class="live-buttons"><button type="button" data-play class="play-main">Train</button>` +
    `<button type="button" data-reset>Reset</button></div></div>` +
    `<p class="live-says" aria-hidden="true">${escaped(said(null))}</p>` +
    `<p class="live-said" role="status"></p>` +
    `<div class="live-panels">${panels(null, [])
      .map((plot) => panel(plot, picture))
      .join("")}</div>` +
    `<table class="race-record" hidden><caption>Your runs</caption><thead><tr><th>run</th>` +
    `<th>encoder, weights, free nats</th><th>z₃ finds the cluster</th><th>bound, nats</th></tr>` +
    `</thead><tbody></tbody></table>`
  );
}

/** @param {Run | null} run */
function said(run) {
  if (!run) return `Choose a recipe and train: ${STEPS} steps.`;
  if (run.result) return verdict(run.result);
  const last = run.looks[run.looks.length - 1];
  const betas = (last?.betas ?? []).map((beta) => shown(beta, 1)).join(", ");
  return (
    `Step ${last?.step ?? 0} of ${STEPS}: keeping z₃ finds the cluster in ` +
    `${percent(last?.share[2] ?? CHANCE)} of the draws. The rates weigh ${betas || "…"}.`
  );
}

/** @param {{model: import("../figure.js").Model, el: HTMLElement}} where */
function render({ model, el }) {
  let state = accepted(spec, model.get("state") ?? {});
  model.set("start", spec.start);
  const data = model.get("data") ?? {};
  const id = el.parentElement?.id || "race";
  /** @type {Run | null} */
  let run = null;
  /** @type {Run[]} */
  let record = [];
  let [started, going, inView, waiting, failed] = [0, false, true, 0, ""];
  /** @type {ReturnType<typeof background> | null} */
  let worker = null;

  el.innerHTML = frame(data, id, () => "<canvas></canvas>", state);
  const find = (/** @type {string} */ what) => /** @type {HTMLElement} */ (el.querySelector(what));
  const [says, spoken, play] = [find(".live-says"), find(".live-said"), find("[data-play]")];
  const layers = [...el.querySelectorAll(".live-drawn")];
  const boxes = /** @type {HTMLElement[]} */ ([...el.querySelectorAll(".live-panel")]);
  const table = find(".race-record");

  const redraw = () => {
    waiting = 0;
    const begun = performance.now();
    panels(run, record).forEach((plot, i) => {
      const layer = layers[i];
      if (layer) layer.innerHTML = plot.svg();
      layer?.setAttribute("aria-label", plot.alt);
      colour(/** @type {HTMLElement} */ (boxes[i]), plot);
    });
    says.textContent = failed || said(run);
    play.textContent = going ? "Pause" : run && !run.result ? "Go on" : "Train";
    table.hidden = !record.length;
    /** @type {HTMLElement} */ (table.querySelector("tbody")).innerHTML = rows(record);
    control.write(el, CONTROLS, state);
    const detail = { state, run, record, going, ms: performance.now() - begun };
    el.dispatchEvent(new CustomEvent("live-frame", { detail, bubbles: true }));
  };
  const schedule = () => {
    waiting ||= requestAnimationFrame(redraw);
  };
  const tell = () => {
    spoken.textContent = failed || said(run);
  };
  /** A model learns while the reader wants it to, and can see it. */
  const drive = () => worker?.post({ type: going && inView ? "go" : "pause" });
  /** @param {boolean} on */
  const go = (on) => {
    going = on;
    drive();
    schedule();
  };
  /** Give up the run at hand. */
  const drop = () => {
    started += 1;
    going = false;
    run = null;
    failed = "";
    worker?.post({ type: "end" });
    schedule();
  };
  const begin = () => {
    if (!worker) {
      worker = background("playground/race.js", serve);
      worker.hear.push(hear);
    }
    drop();
    const { encoder, weights, free } = state;
    // The same recipe again begins with other weights.
    const same = record.filter(
      ({ recipe }) => called(recipe) === called(/** @type {any} */ (state)),
    );
    const recipe = { encoder, weights, free, seed: same.length };
    run = { recipe, looks: [], result: null };
    going = true;
    const little = matchMedia("(prefers-reduced-motion: reduce)").matches;
    worker.post({ type: "start", recipe, id: started, every: little ? SELDOM : EVERY });
    drive();
    schedule();
  };
  const hear = (/** @type {any} */ message) => {
    if (message.id !== started || !run) return;
    if (message.type === "look") run.looks.push(message.look);
    else {
      going = false;
      if (message.type === "done") {
        run.result = message.look;
        record = [...record, run];
      } else {
        run = null;
        failed = "The loss is no number any more. Train again.";
      }
      tell();
    }
    schedule();
  };

  el.addEventListener("input", (event) => {
    const input = /** @type {HTMLInputElement} */ (event.target);
    const one = CONTROLS[Number(input.dataset["control"])];
    if (one && input.dataset["control"]) {
      state = { ...state, ...control.read(one, input) };
      // A recipe that changes half way would be none.
      if (run && !run.result) drop();
      model.set("state", state);
      model.save_changes();
      schedule();
    } else if (input.name === `${id}-bet`) {
      find("[data-guess]").removeAttribute("disabled");
    }
  });
  el.addEventListener("click", (event) => {
    const button = /** @type {Element} */ (event.target).closest("button");
    if (!button) return;
    if (button === play) {
      if (run && !run.result) go(!going);
      else begin();
    } else if (button.hasAttribute("data-reset")) {
      record = [];
      state = { ...spec.start };
      drop();
      model.set("state", state);
      model.save_changes();
      for (const input of el.querySelectorAll(".live-guess input")) {
        Object.assign(input, { checked: false, disabled: false });
      }
      const words = el.querySelector("[data-bet]");
      if (words) words.textContent = "";
      el.querySelector("[data-guess]")?.setAttribute("disabled", "");
    } else if (button.hasAttribute("data-guess")) {
      const bet = /** @type {HTMLInputElement | null} */ (
        el.querySelector(".live-guess input:checked")
      );
      if (!bet) return;
      find("[data-bet]").textContent = settled(data["stored"], bet.value);
      for (const input of el.querySelectorAll(".live-guess input")) {
        input.setAttribute("disabled", "");
      }
      button.setAttribute("disabled", "");
    }
  });
  new IntersectionObserver((entries) => {
    inView = entries[entries.length - 1]?.isIntersecting ?? true;
    if (going) drive();
  }).observe(el);
  onTheme(el, schedule);
  redraw();
  return () => worker?.end();
}

export default { spec, compute: spec.compute, frame, render };
