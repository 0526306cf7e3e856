/**
 * A figure: what it computes from its state, how that is drawn, and what moves the state.
 *
 * `figure(spec)` makes of a description the object that a page, anywidget and Jupyter Book 2 can
 * show. The description is pure: `compute` gives numbers, `draw` gives panels. So the numbers can be
 * compared with those of the package, and a first frame be drawn where there is no page.
 */

import * as control from "./controls.js";
import * as ask from "./guess.js";
import { clamp } from "./numbers.js";
import { escaped, paint } from "./plot.js";

/**
 * @typedef {import("./controls.js").State} State
 * @typedef {import("./plot.js").Role} Role
 * @typedef {import("./plot.js").Pixels} Pixels
 * @typedef {import("./plot.js").Plot} Plot
 * @typedef {[number, number]} Place
 *
 * @typedef {{
 *   label: string,
 *   at: (state: State, values: any, data: any) => Place,
 *   move: (state: State, to: Place, data: any) => State,
 *   panel?: number, along?: "x" | "y" | "xy", role?: Role,
 *   says?: (state: State, values: any, more: {guessing: boolean}) => string,
 *   shown?: (state: State) => boolean,
 * }} Handle  something to drag, in the units of its panel's axes; `move` says what that sets, and
 *   what it sets is kept within the limits of the figure
 *
 * @typedef {{
 *   start: State,
 *   limits?: Record<string, Place>,
 *   prepare?: (data: any) => any,
 *   compute: (state: State, data: any) => any,
 *   draw: (state: State, values: any, data: any, more: {guessing: boolean}) => Plot[],
 *   says: (state: State, values: any, more: {guessing: boolean}) => string,
 *   controls?: import("./controls.js").Control[],
 *   handles?: Handle[],
 *   press?: {panel: number, label: string, area?: [Place, Place],
 *     move: (state: State, to: Place, data: any, first: boolean) => State},
 *   play?: {label: string, next?: string, step: (state: State, data: any) => State | null,
 *     again?: (state: State, data: any) => State, every?: number},
 *   guess?: import("./guess.js").Guess,
 * }} Spec
 *   start: the state that the figure begins with, which an address can hold
 *   limits: of the numbers that no slider has limits for, or of lists of numbers; whatever is set
 *   is kept within them
 *   prepare: what is worth computing once
 *   press: what drawing on a panel does, or within an area of it, from x to x and from y to y: there
 *   the keyboard has a pen, too
 *   play: one step of a motion; null where it ends, and then what Play begins again with; next: what
 *   its button is called; every: how many milliseconds after the last step the next one comes, else
 *   with each frame
 *
 * @typedef {{get: (key: string) => any, set: (key: string, value: any) => void,
 *   save_changes: () => void, on: (event: string, listener: () => void) => void}} Model
 */

/**
 * Where keys push.
 *
 * @type {Record<string, Place>}
 */
const WAYS = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, 1],
  ArrowDown: [0, -1],
  PageUp: [10, 10],
  PageDown: [-10, -10],
  Home: [-100, -100],
  End: [100, 100],
};

/**
 * Of a state that somebody typed or linked to, what this figure can show.
 *
 * @param {Spec} spec
 * @param {State} found
 * @returns {State}
 */
export function accepted(spec, found) {
  /** @type {Record<string, string[]>} */
  const words = {};
  for (const one of spec.controls ?? []) {
    if (one.kind === "choice") words[one.name] = one.options.map(([key]) => key);
  }
  const fits = (/** @type {[string, any]} */ [key, own]) => {
    const value = found[key];
    if (typeof own !== typeof value || Array.isArray(own) !== Array.isArray(value)) return false;
    if (typeof own === "number") return Number.isFinite(value);
    if (Array.isArray(own)) return value.length === own.length && value.every(Number.isFinite);
    return typeof own === "boolean" || (words[key] ?? []).includes(value);
  };
  const known = Object.entries(spec.start).filter(fits);
  const taken = Object.fromEntries(known.map(([key]) => [key, found[key]]));
  return { ...structuredClone(spec.start), ...limited(spec, taken) };
}

/**
 * A change of the state, within the limits and on the steps of what it sets.
 *
 * @param {Spec} spec
 * @param {State} change
 * @returns {State}
 */
export function limited(spec, change) {
  const limits = { ...spec.limits };
  /** @type {Record<string, number>} */
  const steps = {};
  for (const one of spec.controls ?? []) {
    if (one.kind !== "slider") continue;
    limits[one.name] ??= [one.min, one.max];
    if (one.step && !one.log) steps[one.name] = one.step;
  }
  return Object.fromEntries(
    Object.entries(change).map(([key, value]) => {
      const [low, high] = limits[key] ?? [-1e6, 1e6];
      const step = steps[key];
      const kept = (/** @type {number} */ number) => {
        const within = clamp(number, [low, high]);
        return step ? low + step * Math.round((within - low) / step) : within;
      };
      if (typeof value === "number") return [key, kept(value)];
      return [key, Array.isArray(value) ? value.map(kept) : value];
    }),
  );
}

/**
 * Where pixels lie on their panel.
 *
 * @param {Plot} plot
 * @param {Pixels} layer
 */
function placed(plot, { left, top, width, height }) {
  const share = (/** @type {number} */ part, /** @type {number} */ of) => `${(100 * part) / of}%`;
  return (
    `left:${share(left, plot.width)};top:${share(top, plot.height)};` +
    `width:${share(width, plot.width)};height:${share(height, plot.height)}`
  );
}

/**
 * A panel as text.
 *
 * @param {Plot} plot
 * @param {(pixels: Pixels) => string} picture  what stands for pixels
 */
export function panel(plot, picture) {
  const pixels = plot.pixelLayers.map(
    (layer) =>
      `<div class="live-pixels${layer.smooth ? " live-smooth" : ""}" style="${placed(plot, layer)}">` +
      `${picture(layer)}</div>`,
  );
  return (
    `<div class="live-panel" style="--w:${plot.width};--h:${plot.height}">${pixels.join("")}` +
    `<svg viewBox="0 0 ${plot.width} ${plot.height}"><g class="live-drawn" role="img" ` +
    `aria-label="${escaped(plot.alt)}">${plot.svg()}</g><g class="live-handles"></g></svg></div>`
  );
}

/**
 * Make a figure of its description.
 *
 * @param {Spec} spec
 */
export function figure(spec) {
  const controls = spec.controls ?? [];
  const handles = spec.handles ?? [];

  /**
   * All of a figure as text, in its first state.
   *
   * @param {any} data
   * @param {string} id
   * @param {(pixels: Pixels) => string} picture
   * @param {State} [state]
   */
  function frame(data, id, picture, state = spec.start) {
    const values = spec.compute(state, data);
    const guessing = spec.guess !== undefined;
    const panels = spec.draw(state, values, data, { guessing }).map((plot) => panel(plot, picture));
    const own = spec.guess && ask.fresh(spec.guess);
    const buttons = spec.play
      ? `<button type="button" data-play>${escaped(spec.play.label)}</button>` +
        `<button type="button" data-step>${escaped(spec.play.next ?? "One step")}</button>`
      : "";
    return (
      (spec.guess && own ? ask.markup(spec.guess, own, id) : "") +
      `<div class="live-panels">${panels.join("")}</div>` +
      `<div class="live-controls">${control.markup(controls, state, id)}` +
      `<div class="live-buttons">${buttons}<button type="button" data-reset>Reset</button></div></div>` +
      `<p class="live-says" aria-hidden="true">${escaped(spec.says(state, values, { guessing }))}</p>` +
      `<p class="live-said" role="status"></p>`
    );
  }

  /** @param {{model: Model, el: HTMLElement}} where */
  function render({ model, el }) {
    const raw = model.get("data") ?? {};
    const data = spec.prepare ? spec.prepare(raw) : raw;
    const { guess } = spec;
    const own = guess && ask.fresh(guess);
    /** @type {State} */
    let state = accepted(spec, model.get("state") ?? {});
    model.set("start", spec.start);
    /** @type {any} */
    let values;
    /** @type {Plot[]} */
    let plots = [];
    let waiting = 0;
    let playing = false;

    const id = el.id || el.parentElement?.id || "live";
    el.innerHTML = frame(data, id, () => "<canvas></canvas>", state);
    const drawn = [...el.querySelectorAll(".live-drawn")];
    const panels = [...el.querySelectorAll(".live-panel")];
    const says = /** @type {HTMLElement} */ (el.querySelector(".live-says"));
    const said = /** @type {HTMLElement} */ (el.querySelector(".live-said"));
    const play = /** @type {HTMLButtonElement | null} */ (el.querySelector("[data-play]"));
    const verdict = /** @type {HTMLElement | null} */ (el.querySelector(".live-verdict"));

    // Those of the figure, and the one that a guess is given with.
    /** @type {Handle[]} */
    const all = [...handles];
    if (guess && own && guess.kind !== "number") {
      all.push({
        label: guess.label,
        panel: guess.panel ?? 0,
        role: "other",
        at: () => ask.place(guess, own),
        move: (_, [x, y]) => {
          const plot = plots[guess.panel ?? 0];
          ask.move(guess, own, plot ? [clamp(x, plot.x), clamp(y, plot.y)] : [x, y]);
          return {};
        },
        says: () => ask.said(guess, own),
        shown: () => !own.done,
      });
    }
    const marks = all.map((handle) => {
      const mark = document.createElementNS("http://www.w3.org/2000/svg", "g");
      mark.setAttribute("class", `live-handle live-along-${handle.along ?? "xy"}`);
      mark.setAttribute("role", "slider");
      mark.setAttribute("tabindex", "0");
      mark.setAttribute("aria-label", handle.label);
      const ink = paint(handle.role ?? "ink");
      mark.innerHTML = `<circle class="live-reach" r="22"/><circle class="live-grip" r="8" stroke="${ink}"/>`;
      panels[handle.panel ?? 0]?.querySelector(".live-handles")?.append(mark);
      return mark;
    });

    let printing = false;
    const redraw = () => {
      waiting = 0;
      const started = performance.now();
      values = spec.compute(state, data);
      const more = { guessing: Boolean(own && !own.done && !printing) };
      plots = spec.draw(state, values, data, more);
      if (guess && own) {
        // What was said of a point holds as long as the point is where it was.
        if (guess.kind === "point" && own.done) {
          own.over = String(guess.truth(state, values, data)) !== own.of;
          if (verdict) verdict.textContent = own.over ? "" : own.says;
        }
        const plot = plots[guess.panel ?? 0];
        if (plot) ask.draw(guess, own, plot);
      }
      plots.forEach((plot, i) => {
        const layer = drawn[i];
        if (layer) layer.innerHTML = plot.svg();
        colour(/** @type {HTMLElement} */ (panels[i]), plot);
      });
      all.forEach((handle, i) => {
        const plot = plots[handle.panel ?? 0];
        const mark = marks[i];
        if (!plot || !mark) return;
        const [x, y] = handle.at(state, values, data);
        const across = clamp(plot.across(x), [0, plot.width]);
        const down = clamp(plot.down(y), [0, plot.height]);
        mark.setAttribute("transform", `translate(${across.toFixed(1)} ${down.toFixed(1)})`);
        const [axis, value] = handle.along === "y" ? [plot.y, y] : [plot.x, x];
        mark.setAttribute("aria-valuemin", axis[0].toFixed(2));
        mark.setAttribute("aria-valuemax", axis[1].toFixed(2));
        mark.setAttribute("aria-valuenow", value.toFixed(2));
        mark.setAttribute(
          "aria-valuetext",
          handle.says?.(state, values, more) ?? spec.says(state, values, more),
        );
        const hidden = handle.shown ? !handle.shown(state) : false;
        mark.toggleAttribute("hidden", hidden);
        mark.setAttribute("tabindex", hidden ? "-1" : "0");
      });
      control.write(el, controls, state);
      says.textContent = spec.says(state, values, more);
      model.set("state", state);
      const detail = { state, values, ms: performance.now() - started };
      el.dispatchEvent(new CustomEvent("live-frame", { detail, bubbles: true }));
    };
    const schedule = () => {
      waiting ||= requestAnimationFrame(redraw);
    };
    /** @param {State} change */
    const set = (change) => {
      state = { ...state, ...limited(spec, change) };
      if (own) own.over = own.done;
      schedule();
    };
    // What moved is said once it rests, and then it can be linked to.
    let rest = 0;
    const rested = () => {
      clearTimeout(rest);
      rest = window.setTimeout(() => {
        said.textContent = says.textContent;
        model.save_changes();
      }, 400);
    };

    let pause = 0;
    const halt = () => {
      playing = false;
      clearTimeout(pause);
      if (play && spec.play) play.textContent = spec.play.label;
      rested();
    };
    const advance = () => {
      const next = spec.play?.step(state, data);
      if (next) set(next);
      else halt();
      return Boolean(next);
    };
    const run = () => {
      if (!playing || !el.isConnected || !advance()) return;
      if (spec.play?.every) pause = window.setTimeout(run, spec.play.every);
      else requestAnimationFrame(run);
    };

    el.addEventListener("input", (event) => {
      const input = /** @type {HTMLInputElement} */ (event.target);
      const one = controls[Number(input.dataset["control"])];
      if (one) set(control.read(one, input));
      else if (guess?.kind === "number" && own && input.id === `${id}-guess`) {
        own.value = [input.valueAsNumber];
        const output = input.nextElementSibling;
        if (output)
          output.textContent = input.valueAsNumber.toFixed(guess.digits ?? 2).replace("-", "−");
      }
      rested();
    });
    el.addEventListener("click", (event) => {
      const button = /** @type {Element} */ (event.target).closest("button");
      if (!button) return;
      const one = controls[Number(button.dataset["control"])];
      if (button.dataset["control"] && one?.kind === "button") set(one.press(state, data));
      else if (button.hasAttribute("data-step")) {
        halt();
        advance();
      } else if (button === play) {
        if (playing) return halt();
        const { step, again } = spec.play ?? {};
        if (again && !step?.(state, data)) set(again(state, data));
        playing = true;
        play.textContent = "Pause";
        run();
      } else if (button.hasAttribute("data-reset")) {
        halt();
        state = structuredClone(spec.start);
        if (guess && own) restart(button);
        schedule();
      } else if (button.hasAttribute("data-guess") && guess && own) {
        if (own.done) restart(button);
        else {
          own.done = true;
          for (const input of el.querySelectorAll(".live-guess input"))
            input.toggleAttribute("disabled", true);
          const truth = guess.truth(state, values, data);
          own.says = ask.verdict(guess, own, truth);
          own.of = String(truth);
          button.textContent = "Guess again";
          if (verdict) verdict.textContent = own.says;
        }
        schedule();
      }
      rested();
    });
    /** @param {Element} near */
    const restart = (near) => {
      if (!guess || !own) return;
      Object.assign(own, ask.fresh(guess));
      if (verdict) verdict.textContent = "";
      const button =
        near.closest(".live-guess")?.querySelector("button") ?? el.querySelector("[data-guess]");
      if (button) button.textContent = "Compare";
      const input = /** @type {HTMLInputElement | null} */ (el.querySelector(".live-guess input"));
      if (input) {
        input.disabled = false;
        input.value = String(own.value[0]);
        input.dispatchEvent(new Event("input", { bubbles: true }));
      }
    };

    marks.forEach((mark, i) => {
      const handle = /** @type {Handle} */ (all[i]);
      const at = handle.panel ?? 0;
      /** @param {Place} to */
      const go = ([x, y]) => {
        const here = handle.at(state, values, data);
        set(
          handle.move(
            state,
            handle.along === "x" ? [x, here[1]] : handle.along === "y" ? [here[0], y] : [x, y],
            data,
          ),
        );
        rested();
      };
      grab(
        mark,
        panels[at],
        () => plots[at],
        () => handle.at(state, values, data),
        go,
      );
    });
    onTheme(el, schedule);
    // Paper has nothing left to guess.
    for (const name of ["beforeprint", "afterprint"]) {
      window.addEventListener(name, () => {
        printing = name === "beforeprint";
        redraw();
      });
    }
    redraw();
    if (spec.press) {
      const { panel: at, label, move, area } = spec.press;
      const whole = /** @type {SVGElement} */ (panels[at]?.querySelector("svg"));
      const board = area ? document.createElementNS("http://www.w3.org/2000/svg", "path") : whole;
      const plot = plots[at];
      if (area && plot) {
        // A finger beside it scrolls the page.
        const [[left, right], [low, high]] = area;
        const d = `M${plot.across(left)} ${plot.down(low)}H${plot.across(right)}V${plot.down(high)}H${plot.across(left)}Z`;
        board.setAttribute("d", d);
        board.setAttribute("fill", "transparent");
        hold(board);
        const pen = document.createElementNS("http://www.w3.org/2000/svg", "circle");
        pen.setAttribute("class", "live-pen");
        pen.setAttribute("r", "6");
        whole.querySelector(".live-handles")?.prepend(board, pen);
        write(board, pen, area, plot, (to, first) => {
          set(move(state, to, data, first));
          rested();
        });
      } else board.setAttribute("role", "img");
      board.classList.add("live-board");
      board.setAttribute("aria-label", label);
      board.addEventListener("pointerdown", (event) => {
        if (/** @type {Element} */ (event.target).closest(".live-handle")) return;
        event.preventDefault();
        let first = true;
        /** @param {PointerEvent} moved */
        const put = (moved) => {
          set(move(state, pointed(panels[at], plots[at], moved), data, first));
          first = false;
          rested();
        };
        put(event);
        follow(board, event, put);
      });
    }
    return () => cancelAnimationFrame(waiting);
  }

  return { spec, compute: spec.compute, frame, render };
}

/**
 * Let a handle be dragged by a pointer, and pushed by the arrow keys.
 *
 * @param {SVGElement} mark
 * @param {Element | undefined} panel
 * @param {() => Plot | undefined} plot  of the panel, as it is now
 * @param {() => Place} at  where the handle is
 * @param {(to: Place) => void} go
 */
export function grab(mark, panel, plot, at, go) {
  hold(mark);
  mark.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    // Where reaches overlap, the nearest ring is meant.
    const meant = nearest(mark, event);
    if (meant !== mark) return void meant.dispatchEvent(new PointerEvent("pointerdown", event));
    mark.focus({ preventScroll: true });
    // From where the pointer took it, so that nothing jumps.
    const [x, y] = at();
    const [px, py] = pointed(panel, plot(), event);
    follow(mark, event, (moved) => {
      const [mx, my] = pointed(panel, plot(), moved);
      go([mx + x - px, my + y - py]);
    });
  });
  mark.addEventListener("keydown", (event) => {
    const to = pushed(event, plot(), at());
    if (!to) return;
    event.preventDefault();
    go(to);
  });
}

/**
 * Let a board be drawn on with keys: arrows move the pen, Space sets a dot, Shift and an arrow draw.
 *
 * @param {Element} board
 * @param {Element} pen
 * @param {[Place, Place]} area
 * @param {Plot} plot
 * @param {(to: Place, first: boolean) => void} put
 */
function write(board, pen, [across, up], plot, put) {
  board.setAttribute("role", "application");
  board.setAttribute("tabindex", "0");
  /** @type {Place} */
  let at = [(across[0] + across[1]) / 2, (up[0] + up[1]) / 2];
  let down = false;
  const show = () => {
    pen.setAttribute("cx", plot.across(at[0]).toFixed(1));
    pen.setAttribute("cy", plot.down(at[1]).toFixed(1));
  };
  show();
  board.addEventListener("keydown", (event) => {
    const { key, shiftKey } = /** @type {KeyboardEvent} */ (event);
    const way = WAYS[key];
    if (key !== " " && !(way && key.startsWith("Arrow"))) return;
    event.preventDefault();
    if (way) {
      if (shiftKey && !down) put(at, true);
      const by = (/** @type {Place} */ [from, to]) => (to - from) / 16;
      at = [clamp(at[0] + way[0] * by(across), across), clamp(at[1] + way[1] * by(up), up)];
      show();
    }
    down = shiftKey || !way;
    if (down) put(at, !way);
  });
}

/**
 * The handle of a panel whose ring is nearest to a pointer.
 *
 * @param {Element} mark  one of them
 * @param {PointerEvent} event
 */
function nearest(mark, event) {
  const others = mark.parentElement?.querySelectorAll(".live-handle:not([hidden])") ?? [];
  const far = (/** @type {Element} */ one) => {
    const { x, y, width, height } = (
      one.querySelector(".live-grip") ?? one
    ).getBoundingClientRect();
    return Math.hypot(event.clientX - x - width / 2, event.clientY - y - height / 2);
  };
  return [...others].reduce((best, one) => (far(one) < far(best) ? one : best), mark);
}

/**
 * Where a pointer is, in the units of a panel's axes.
 *
 * @param {Element | undefined} panel
 * @param {Plot | undefined} plot
 * @param {MouseEvent} event
 * @returns {Place}
 */
export function pointed(panel, plot, event) {
  if (!panel || !plot) return [0, 0];
  const box = panel.getBoundingClientRect();
  return plot.place(
    ((event.clientX - box.left) / box.width) * plot.width,
    ((event.clientY - box.top) / box.height) * plot.height,
  );
}

/**
 * Keep a finger on a part of an SVG from scrolling the page: `touch-action` reaches whole SVGs only.
 *
 * @param {Element} part
 */
function hold(part) {
  part.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
}

/**
 * Follow a pointer until it is let go.
 *
 * @param {Element} target
 * @param {PointerEvent} down
 * @param {(event: PointerEvent) => void} move
 */
export function follow(target, down, move) {
  target.setPointerCapture(down.pointerId);
  const listener = /** @type {(event: Event) => void} */ (move);
  target.addEventListener("pointermove", listener);
  const end = () => {
    target.removeEventListener("pointermove", listener);
    for (const name of ["pointerup", "pointercancel"]) target.removeEventListener(name, end);
  };
  for (const name of ["pointerup", "pointercancel"]) target.addEventListener(name, end);
}

/**
 * Where a key pushes a handle: by a hundredth of the axis; by a tenth with Shift, or a page at a
 * time; to an end.
 *
 * @param {KeyboardEvent} event
 * @param {Plot | undefined} plot
 * @param {Place} at
 * @returns {Place | null}
 */
function pushed(event, plot, [x, y]) {
  const way = WAYS[event.key];
  if (!way || !plot) return null;
  const size = event.shiftKey ? 0.1 : 0.01;
  return [x + way[0] * size * (plot.x[1] - plot.x[0]), y + way[1] * size * (plot.y[1] - plot.y[0])];
}

/**
 * Put a plot's pixels on its canvases, in the hues that the page has now.
 *
 * @param {HTMLElement} panel
 * @param {Plot} plot
 */
export function colour(panel, plot) {
  const canvases = panel.querySelectorAll("canvas");
  plot.pixelLayers.forEach((layer, k) => {
    const { alpha, columns, rows, role } = layer;
    const canvas = canvases[k];
    const context = canvas?.getContext("2d");
    if (!canvas || !context) return;
    canvas.parentElement?.setAttribute("style", placed(plot, layer));
    if (canvas.width !== columns) canvas.width = columns;
    if (canvas.height !== rows) canvas.height = rows;
    const [red, green, blue] = rgb(canvas, role);
    const image = context.createImageData(columns, rows);
    for (let i = 0; i < alpha.length; i++) {
      image.data[4 * i] = red;
      image.data[4 * i + 1] = green;
      image.data[4 * i + 2] = blue;
      image.data[4 * i + 3] = 255 * clamp(alpha[i] ?? 0, [0, 1]);
    }
    context.putImageData(image, 0, 0);
  });
}

/**
 * The red, green and blue of a role where an element stands.
 *
 * @param {HTMLElement} element
 * @param {Role} role
 * @returns {[number, number, number]}
 */
function rgb(element, role) {
  const wanted = paint(role);
  if (element.style.color !== wanted) element.style.color = wanted;
  const [red = 0, green = 0, blue = 0] = (
    getComputedStyle(element).color.match(/[\d.]+/g) ?? []
  ).map(Number);
  return [red, green, blue];
}

/**
 * Tell when the page turns light or dark.
 *
 * @param {HTMLElement} el
 * @param {() => void} changed
 */
export function onTheme(el, changed) {
  const root = el.ownerDocument.documentElement;
  new MutationObserver(changed).observe(root, {
    attributes: true,
    attributeFilter: ["data-theme"],
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
}
