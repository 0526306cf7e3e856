/**
 * The playground: a VAE that learns while the reader watches, with the true log p(x) beside its bound.
 *
 * The model lives in a worker, `playground/training.js`; here are the controls that it is made from
 * and the views of what it posts.
 */

import * as control from "../controls.js";
import { accepted, colour, follow, grab, onTheme, panel, pointed } from "../figure.js";
import { clamp, sum } from "../numbers.js";
import { escaped, paint, shown } from "../plot.js";
import { CHALLENGES } from "../playground/challenges.js";
import { DATA_NAMES } from "../playground/data.js";
import { CHANGEABLE, DEFAULTS, serve } from "../playground/training.js";
import { numbers, panels, remember } from "../playground/views.js";
import { background } from "../worker.js";

/**
 * @typedef {import("../playground/training.js").Options} Options
 * @typedef {import("../playground/views.js").Seen} Seen
 * @typedef {import("../controls.js").Control} Control
 * @typedef {import("../plot.js").Plot} Plot
 */

/** Speeds, in steps a second. */
const SPEEDS = { slow: 20, medium: 300, fast: Infinity };
/** Where the ring waits that is dragged to a point x. */
const CORNER = /** @type {[number, number]} */ ([2.3, -2.3]);
/** Points of a drawing that an address holds. */
const LINKED = 60;

/**
 * @param {string} name
 * @param {string} label
 * @param {(string | number)[]} values
 * @param {string[]} [words]
 * @returns {Control}
 */
function choice(name, label, values, words) {
  return {
    kind: "choice",
    name,
    label,
    menu: true,
    options: values.map((value, i) => [String(value), words?.[i] ?? String(value)]),
  };
}

/** What is turned while a model learns stands above the views, all else below them. */
/** @type {[string, Control[]][]} */
const GROUPS = [
  [
    "",
    [
      {
        kind: "choice",
        name: "train",
        label: "train",
        options: ["both", "encoder", "decoder"].map((one) => [one, one]),
      },
      { kind: "slider", name: "beta", label: "β", min: 0.02, max: 20, log: true },
      choice("speed", "speed", Object.keys(SPEEDS)),
    ],
  ],
  [
    "Data",
    [
      choice("data", "data", [...DATA_NAMES, "drawn"], [...DATA_NAMES, "draw your own"]),
      {
        kind: "slider",
        name: "seed",
        label: "seed",
        min: 0,
        max: 99,
        step: 1,
        text: (seed) => String(seed),
      },
      {
        kind: "slider",
        name: "lr",
        label: "learning rate",
        min: 1e-4,
        max: 3e-2,
        log: true,
        text: (rate) => rate.toPrecision(2),
      },
    ],
  ],
  [
    "Model",
    [
      choice("levels", "levels", [1, 2, 3]),
      choice("units", "units a level", [1, 2]),
      choice("encoder", "encoder runs", ["bottom-up", "top-down"]),
      choice("hidden", "hidden width", [8, 16, 32, 64]),
      { kind: "slider", name: "sigma", label: "σ of the decoder", min: 0.03, max: 2, log: true },
      { kind: "toggle", name: "learnSigma", label: "learn σ" },
    ],
  ],
  [
    "Objective",
    [
      choice("bound", "bound", ["elbo", "iwae"], ["ELBO", "K samples"]),
      choice("draws", "K", [1, 5, 20]),
      { kind: "slider", name: "freeNats", label: "free nats a level", min: 0, max: 2, step: 0.05 },
      {
        kind: "slider",
        name: "warmUp",
        label: "warm-up, steps",
        min: 0,
        max: 5000,
        step: 100,
        text: (steps) => String(steps),
      },
      choice("warming", "warm up", ["together", "level by level"]),
    ],
  ],
];
const CONTROLS = GROUPS.flatMap(([, group]) => group);

/** What the controls and an address hold: the options, as texts where they are choices. */
const START = Object.fromEntries([
  ...CONTROLS.map((one) => {
    const name = one.kind === "button" ? "" : one.name;
    const value = name === "speed" ? "medium" : DEFAULTS[/** @type {keyof Options} */ (name)];
    return [name, one.kind === "choice" ? String(value) : value];
  }),
  ["level", "0"],
]);

/** @type {import("../figure.js").Spec} */
const spec = {
  start: START,
  controls: [...CONTROLS, choice("level", "codes of level", [0, 1, 2], ["z₁", "z₂", "z₃"])],
  compute: () => ({}),
  draw: () => [],
  says: () => "",
};
const LEVEL = spec.controls?.length ? spec.controls.length - 1 : 0;

/**
 * @param {Record<string, any>} state
 * @returns {Options}
 */
function optionsOf(state) {
  return /** @type {Options} */ (
    Object.fromEntries(
      Object.entries(DEFAULTS).map(([name, value]) => {
        const own = state[name] ?? value;
        return [name, typeof value === "number" ? Number(own) : own];
      }),
    )
  );
}

/**
 * @param {Options} options
 * @returns {Seen}
 */
function nothing(options) {
  return {
    options,
    view: null,
    bounds: null,
    chosen: null,
    level: 0,
    integrated: [],
    watched: [],
    phases: [{ step: 0, train: options.train }],
    settled: [],
    kept: null,
    rest: null,
  };
}

/**
 * All of it as text.
 *
 * @param {any} _
 * @param {string} id
 * @param {(pixels: import("../plot.js").Pixels) => string} picture
 * @param {Record<string, any>} [state]
 */
function frame(_, id, picture, state = START) {
  let first = 0;
  const groups = GROUPS.map(([title, group]) => {
    // Controls are found by their number among all.
    const text = control
      .markup(group, state, `${id}-${first}`)
      .replace(/data-control="(\d+)"/g, (__, i) => `data-control="${first + Number(i)}"`);
    first += group.length;
    if (!title) return `<div class="play-quick">${text}</div>`;
    return `<fieldset class="play-group"><legend>${escaped(title)}</legend>${text}</fieldset>`;
  });
  const [quick, ...rest] = groups;
  const level = control
    .markup([/** @type {Control} */ (spec.controls?.[LEVEL])], state, `${id}-level`)
    .replace(/data-control="0"/g, `data-control="${LEVEL}"`);
  const seen = nothing(optionsOf(state));
  const challenges = CHALLENGES.map(
    ({ title, task }, i) =>
      `<li data-challenge="${i}"><details><summary><span class="play-won" aria-hidden="true"></span>` +
      `${escaped(title)}</summary><p>${escaped(task)}</p>` +
      `<button type="button" data-begin="${i}">Set it up</button> ` +
      `<output class="live-verdict"></output></details></li>`,
  );
  return (
    `<div class="play-bar"><div class="play-buttons live-buttons"><button type="button" data-play class="play-main">Train</button>` +
    `<button type="button" data-step>One step</button>` +
    `<button type="button" data-restart>Start anew</button>` +
    `<button type="button" data-keep>Keep this point</button>` +
    `<button type="button" data-link>Copy link</button>` +
    `<button type="button" data-reset>Reset all</button></div>${quick}` +
    `<p class="live-says" aria-hidden="true">${escaped(numbers(seen))}</p>` +
    `<p class="play-goal" hidden><strong></strong> <output class="live-verdict"></output></p></div>` +
    `<p class="live-said" role="status"></p>` +
    `<div class="live-panels">${panels(seen)
      .map((plot) => panel(plot, picture))
      .join("")}</div>` +
    `<div class="play-level">${level}` +
    `<button type="button" data-encoder hidden>Back to the encoder’s q</button></div>` +
    `<div class="play-groups">${rest.join("")}</div>` +
    `<div class="play-challenges"><p><strong>Six challenges.</strong> Each has a verdict by numbers.</p>` +
    `<ol>${challenges.join("")}</ol></div>`
  );
}

/** @param {{model: import("../figure.js").Model, el: HTMLElement}} where */
function render({ model, el }) {
  let state = accepted(spec, model.get("state") ?? {});
  const id = el.parentElement?.id || "playground";
  let clicks = linked(model.get("state")?.clicks);
  let seen = nothing(optionsOf(state));
  let running = false;
  let waiting = 0;
  let challenge = -1;
  /** @type {Plot[]} */
  let plots = [];
  // Of each new model: what an older one still posts is not heard.
  let made = 0;
  // Since when β has been what it is.
  let since = 0;
  model.set("start", START);

  el.innerHTML = frame(null, id, () => "<canvas></canvas>", state);
  const all = /** @type {Control[]} */ (spec.controls);
  const layers = [...el.querySelectorAll(".live-drawn")];
  const boxes = /** @type {HTMLElement[]} */ ([...el.querySelectorAll(".live-panel")]);
  const find = (/** @type {string} */ what) => /** @type {HTMLElement} */ (el.querySelector(what));
  const [says, said, play] = [find(".live-says"), find(".live-said"), find("[data-play]")];
  const worker = background("playground/training.js", serve);

  const redraw = () => {
    waiting = 0;
    const started = performance.now();
    seen.level = Math.min(Number(state["level"]), seen.options.levels - 1);
    plots = panels(seen);
    plots.forEach((plot, i) => {
      const layer = layers[i];
      if (layer) layer.innerHTML = plot.svg();
      colour(/** @type {HTMLElement} */ (boxes[i]), plot);
    });
    place();
    says.textContent = numbers(seen);
    control.write(el, all, state);
    allow();
    judge();
    const detail = { seen, ms: performance.now() - started };
    el.dispatchEvent(new CustomEvent("live-frame", { detail, bubbles: true }));
  };
  const schedule = () => {
    waiting ||= requestAnimationFrame(redraw);
  };

  /** Grey out what has no effect on the model at hand. */
  const allow = () => {
    const { levels, bound, learnSigma, data } = seen.options;
    /** @type {Record<string, boolean>} */
    const idle = {
      encoder: levels === 1,
      level: levels === 1,
      warming: levels === 1 || !seen.options.warmUp,
      beta: bound === "iwae",
      warmUp: bound === "iwae",
      freeNats: bound === "iwae",
      sigma: learnSigma,
    };
    for (const input of el.querySelectorAll("[data-control]")) {
      const one = all[Number(/** @type {HTMLElement} */ (input).dataset["control"])];
      const name = one && one.kind !== "button" ? one.name : "";
      input.toggleAttribute("disabled", Boolean(idle[name]));
    }
    for (const option of el.querySelectorAll(".play-level option")) {
      option.toggleAttribute("disabled", Number(option.getAttribute("value")) >= levels);
    }
    boxes[0]?.querySelector("svg")?.classList.toggle("live-board", data === "drawn");
    find("[data-encoder]").toggleAttribute("hidden", !seen.chosen?.mine);
  };

  /** Whether a drawing is wanted that is not there. */
  const undrawn = () => state["data"] === "drawn" && clicks.length < 4;
  const run = (/** @type {boolean} */ on) => {
    if (on && undrawn()) return;
    running = on;
    seen.rest = null;
    play.textContent = on ? "Pause" : "Train";
    const speed = SPEEDS[/** @type {keyof typeof SPEEDS} */ (state["speed"])];
    worker.post(on ? { type: "run", ...(speed < Infinity ? { speed } : {}) } : { type: "pause" });
  };
  /** A new model. */
  const anew = () => {
    const options = { ...optionsOf(state), clicks };
    const { kept } = seen;
    seen = { ...nothing(options), kept };
    since = 0;
    made += 1;
    if (options.levels > 1 || options.data === "drawn") x = null;
    worker.post({ type: "choose", x, q: (own = null) });
    if (undrawn()) {
      run(false);
      said.textContent = numbers(seen);
      return schedule();
    }
    worker.post({ type: "reset", options, id: made });
    if (running) run(true);
    schedule();
  };
  let rest = 0;
  const rested = () => {
    clearTimeout(rest);
    rest = window.setTimeout(() => {
      said.textContent = says.textContent;
      save();
    }, 400);
  };
  /** Into the address. */
  const save = () => {
    const every = Math.ceil(clicks.length / 2 / LINKED);
    const few = clicks.filter((_, i) => Math.floor(i / 2) % every === 0);
    const drawing = few.map((value) => Math.round(100 * value) / 100);
    model.set("state", state["data"] === "drawn" ? { ...state, clicks: drawing } : state);
    model.save_changes();
  };
  /** @param {Record<string, any>} change */
  const set = (change) => {
    const { view } = seen;
    if ("beta" in change && view) {
      // Where the last β has led, once it had time to.
      if (view.step > since + 300) {
        const one = { rate: sum(view.rates), distortion: view.distortion, beta: state["beta"] };
        seen.settled = [...seen.settled, one].slice(-8);
      }
      since = view.step;
    }
    if ("train" in change) {
      const step = view?.step ?? 0;
      const before = seen.phases.filter((phase) => phase.step < step);
      seen.phases = [...before, { step, train: change["train"] }];
    }
    state = { ...state, ...change };
    const options = { ...optionsOf(state), clicks };
    const names = Object.keys(change).filter((name) => name in DEFAULTS);
    const soft = names.every((name) => CHANGEABLE.some((one) => one === name));
    if (!soft) anew();
    else {
      seen.options = options;
      const own = Object.fromEntries(
        names.map((name) => [name, options[/** @type {keyof Options} */ (name)]]),
      );
      if (names.length) worker.post({ type: "set", options: own });
      if ("speed" in change && running) run(true);
      schedule();
    }
    rested();
  };

  /** Whether the challenge at hand is won by what is seen. */
  const judge = () => {
    const one = CHALLENGES[challenge];
    const row = el.querySelector(`[data-challenge="${challenge}"]`);
    if (!one || !row) return;
    const { won, says: words } = one.verdict(seen);
    row.toggleAttribute("data-won", won || row.hasAttribute("data-won"));
    const lesson = won ? `${words} ${one.lesson}` : words;
    const goal = find(".play-goal");
    goal.hidden = false;
    goal.toggleAttribute("data-won", won);
    /** @type {HTMLElement} */ (goal.querySelector("strong")).textContent = `${one.title}:`;
    for (const output of [goal, row].map((where) => where.querySelector(".live-verdict"))) {
      if (output && output.textContent !== lesson) output.textContent = lesson;
    }
  };

  worker.hear.push((message) => {
    if (message.id !== made || undrawn()) return;
    if (message.type === "view") {
      const { view } = message;
      seen.view = view;
      const last = seen.watched[seen.watched.length - 1];
      if (last?.step !== view.step) {
        remember(seen.watched, { step: view.step, rates: view.rates, distortion: view.distortion });
      }
    } else if (message.type === "bounds") {
      const { bounds } = message;
      seen.bounds = bounds;
      remember(seen.integrated, {
        step: bounds.step,
        elbo: bounds.elbo,
        logMarginal: bounds.logMarginal,
      });
    } else if (message.type === "chosen") {
      seen.chosen = x && message.chosen;
    } else if (message.type === "rest") {
      // What a pause leaves is said, once all of it is there.
      const paused = seen.rest === null && message.step > 0;
      seen.rest = message.step;
      if (paused) rested();
    } else if (message.type === "failed") {
      run(false);
      seen.rest = seen.view?.step ?? 0;
      said.textContent = `${message.message}. Lower the learning rate and start anew.`;
      says.textContent = said.textContent;
      return;
    }
    schedule();
  });

  el.addEventListener("input", (event) => {
    const input = /** @type {HTMLInputElement} */ (event.target);
    const one = all[Number(input.dataset["control"])];
    if (one) set(control.read(one, input));
  });
  el.addEventListener("click", (event) => {
    const button = /** @type {Element} */ (event.target).closest("button");
    if (!button) return;
    if (button === play) {
      if (!seen.view && !running) anew();
      run(!running);
    } else if (button.hasAttribute("data-encoder")) {
      own = null;
      choose();
    } else if (button.hasAttribute("data-step")) {
      if (running) run(false);
      if (!undrawn()) worker.post({ type: "step" });
    } else if (button.hasAttribute("data-restart")) anew();
    else if (button.hasAttribute("data-keep") && seen.view && seen.bounds) {
      seen.kept = { view: seen.view, bounds: seen.bounds, data: seen.options.data };
      schedule();
    } else if (button.hasAttribute("data-link")) {
      save();
      navigator.clipboard?.writeText(location.href).then(
        () => (said.textContent = button.textContent = "Copied"),
        () => (button.textContent = "The link is in the address line"),
      );
    } else if (button.hasAttribute("data-reset")) {
      run(false);
      clicks = [];
      state = { ...START };
      challenge = -1;
      find(".play-goal").hidden = true;
      seen.kept = null;
      anew();
      rested();
    } else if (button.dataset["begin"]) {
      challenge = Number(button.dataset["begin"]);
      run(false);
      seen.kept = null;
      state = accepted(spec, { ...START, ...CHALLENGES[challenge]?.setup });
      anew();
      rested();
      el.scrollIntoView({ block: "start" });
    }
  });

  // A point x to look at, and a q for it: the encoder's, until the reader takes hold of it.
  /** @type {[number, number] | null} */
  let x = null;
  /** @type {number[] | null} */
  let own = null;
  const choose = () => {
    if (!x) seen.chosen = null;
    worker.post({ type: "choose", x, q: own });
    schedule();
  };
  /** @param {[number, number]} to */
  const look = ([x1, x2]) => {
    x = [clamp(x1, [-2.7, 2.7]), clamp(x2, [-2.7, 2.7])];
    own = null;
    choose();
  };
  /**
   * Means and log-variances, with one of both changed.
   *
   * @param {(m: number, v: number, j: number, units: number) => [number, number]} change
   */
  const shape = (change) => {
    const q = own ?? seen.chosen?.q;
    if (!q) return;
    const units = q.length / 2;
    const both = Array.from({ length: units }, (_, j) =>
      change(q[j] ?? 0, q[units + j] ?? 0, j, units),
    );
    own = [
      ...both.map(([m]) => clamp(m, [-3.5, 3.5])),
      ...both.map(([, v]) => clamp(v, [-7, 1.5])),
    ];
    choose();
  };
  // In the plane the edge is taken hold of at 45°.
  const edge = (/** @type {number} */ units) => (units === 1 ? 1 : Math.SQRT1_2);
  /** The center of q, and its edge: with one unit both stand on the axis. */
  const spot = (/** @type {number} */ scales) => {
    const q = own ?? seen.chosen?.q ?? [0, 0];
    const units = q.length / 2;
    const at = Array.from({ length: units }, (_, j) => {
      return (q[j] ?? 0) + scales * edge(units) * Math.exp((q[units + j] ?? 0) / 2);
    });
    const [first = 0, second = 0.05 * (plots[1]?.y[1] ?? 0)] = at;
    return /** @type {[number, number]} */ ([first, second]);
  };
  const here = () => {
    const { chosen } = seen;
    if (!chosen || chosen.logMarginal === null) return "";
    return `, gap ${shown(chosen.logMarginal - chosen.elbo, 3)}`;
  };
  const off = () => Number(state["levels"]) > 1 || state["data"] === "drawn";
  const marks = [
    {
      panel: 0,
      role: /** @type {const} */ ("gap"),
      label: "A point x: its posterior and the encoder's answer",
      at: () => x ?? CORNER,
      go: look,
      hidden: off,
      says: () =>
        x ? `x at ${x.map((one) => shown(one)).join(", ")}${here()}` : "no point chosen",
    },
    {
      panel: 1,
      role: /** @type {const} */ ("q"),
      label: "The mean of q for this x",
      at: () => spot(0),
      go: (/** @type {number[]} */ to) => shape((m, v, j) => [to[j] ?? m, v]),
      hidden: () => off() || !seen.chosen,
      says: () =>
        `mean ${spot(0)
          .map((one) => shown(one))
          .join(", ")}${here()}`,
    },
    {
      panel: 1,
      role: /** @type {const} */ ("q"),
      label: "The scale of q for this x",
      at: () => spot(1),
      go: (/** @type {number[]} */ to) =>
        shape((m, v, j, units) => {
          const away = Math.abs((to[j] ?? m) - m) / edge(units);
          return [m, to[j] === undefined ? v : 2 * Math.log(Math.max(away, 0.03))];
        }),
      hidden: () => off() || !seen.chosen,
      says: () =>
        `edge ${spot(1)
          .map((one) => shown(one))
          .join(", ")}${here()}`,
    },
  ].map((one) => {
    const mark = document.createElementNS("http://www.w3.org/2000/svg", "g");
    mark.setAttribute("class", "live-handle");
    mark.setAttribute("role", "slider");
    mark.setAttribute("aria-label", one.label);
    mark.innerHTML = `<circle class="live-reach" r="22"/><circle class="live-grip" r="8" stroke="${paint(one.role)}"/>`;
    boxes[one.panel]?.querySelector(".live-handles")?.append(mark);
    grab(mark, boxes[one.panel], () => plots[one.panel], one.at, one.go);
    return { ...one, mark };
  });
  const place = () => {
    for (const { mark, panel: at, at: where, hidden, says: words } of marks) {
      const plot = plots[at];
      if (!plot) continue;
      const [across, down] = where();
      const to = [plot.across(across), plot.down(down)].map((value) => value.toFixed(1)).join(" ");
      mark.setAttribute("transform", `translate(${to})`);
      mark.toggleAttribute("hidden", hidden());
      mark.setAttribute("tabindex", hidden() ? "-1" : "0");
      mark.setAttribute("aria-valuemin", "-3.50");
      mark.setAttribute("aria-valuemax", "3.50");
      mark.setAttribute("aria-valuenow", across.toFixed(2));
      mark.setAttribute("aria-valuetext", words());
    }
  };

  const board = /** @type {SVGSVGElement} */ (boxes[0]?.querySelector("svg"));
  board.addEventListener("pointerdown", (event) => {
    if (state["data"] !== "drawn") return;
    event.preventDefault();
    /** @param {PointerEvent} moved */
    const put = (moved) => {
      const [x, y] = pointed(boxes[0], plots[0], moved);
      if (clicks.length < 1000) clicks = [...clicks, x, y];
      seen.options = { ...seen.options, clicks };
      schedule();
    };
    put(event);
    follow(board, event, put);
    board.addEventListener("pointerup", anew, { once: true });
  });
  // A press on a point of the data chooses it; beside all of them, none is.
  board.addEventListener("click", (event) => {
    const { view } = seen;
    if (off() || !view || /** @type {Element} */ (event.target).closest(".live-handle")) return;
    const to = pointed(boxes[0], plots[0], event);
    /** @type {[number, number][]} */
    const points = Array.from({ length: view.x.length / 2 }, (_, i) => [
      view.x[2 * i] ?? 0,
      view.x[2 * i + 1] ?? 0,
    ]);
    const far = ([a, b] = [9, 9]) => Math.hypot(a - to[0], b - to[1]);
    const nearest = points.reduce((best, one) => (far(one) < far(best) ? one : best), points[0]);
    if (nearest && far(nearest) < 0.25) return look(nearest);
    [x, own] = [null, null];
    choose();
  });
  onTheme(el, schedule);
  anew();
  return () => worker.end();
}

/**
 * The drawing that an address holds.
 *
 * @param {unknown} found
 * @returns {number[]}
 */
function linked(found) {
  if (!Array.isArray(found) || found.length % 2 || found.length > 4 * LINKED) return [];
  return found.every((one) => Number.isFinite(one) && Math.abs(one) < 4) ? found : [];
}

export default { spec, compute: spec.compute, frame, render };
