/**
 * The controls of a figure: sliders, choices, buttons. As text, and then as what they set.
 */

import { escaped, shown } from "./plot.js";

/**
 * @typedef {Record<string, any>} State
 * @typedef {{
 *   kind: "slider", name: string, label: string, min: number, max: number, step?: number,
 *   log?: boolean, text?: (value: number) => string,
 * }} Slider  log: equal steps are equal factors
 * @typedef {{
 *   kind: "choice", name: string, label: string, options: [string, string][], menu?: boolean,
 * }} Choice  of values and what they are called; menu: one line, whatever their number
 * @typedef {{kind: "toggle", name: string, label: string}} Toggle
 * @typedef {{
 *   kind: "button", label: string, press: (state: State, data: any) => State,
 * }} Button
 * @typedef {Slider | Choice | Toggle | Button} Control
 */

/**
 * @param {Slider} slider
 * @param {number} value
 */
function position({ log, min, max }, value) {
  return log ? Math.log(value / min) / Math.log(max / min) : value;
}

/**
 * What a slider's value is called.
 *
 * @param {Slider} slider
 * @param {number} value
 */
function said(slider, value) {
  return slider.text ? slider.text(value) : shown(value);
}

/**
 * The controls as text.
 *
 * @param {Control[]} controls
 * @param {State} state
 * @param {string} id  of the figure
 */
export function markup(controls, state, id) {
  return controls
    .map((control, i) => {
      const name = `${id}-control-${i}`;
      const label = escaped(control.label);
      if (control.kind === "button") {
        return `<button type="button" data-control="${i}">${label}</button>`;
      }
      const value = state[control.name];
      if (control.kind === "toggle") {
        return (
          `<label class="live-toggle"><input type="checkbox" data-control="${i}" ` +
          `autocomplete="off"${value ? " checked" : ""}>${label}</label>`
        );
      }
      if (control.kind === "choice" && control.menu) {
        const options = control.options.map(
          ([key, words]) =>
            `<option value="${escaped(key)}"${key === value ? " selected" : ""}>${escaped(words)}</option>`,
        );
        return (
          `<div class="live-menu"><label for="${name}">${label}</label>` +
          `<select id="${name}" data-control="${i}" autocomplete="off">${options.join("")}</select></div>`
        );
      }
      if (control.kind === "choice") {
        const options = control.options.map(
          ([key, words]) =>
            `<label><input type="radio" name="${name}" data-control="${i}" autocomplete="off" ` +
            `value="${escaped(key)}"${key === value ? " checked" : ""}>` +
            `<span>${escaped(words)}</span></label>`,
        );
        return (
          `<fieldset class="live-choice"><legend>${label}</legend>` +
          `${options.join("")}</fieldset>`
        );
      }
      const [min, max] = control.log ? [0, 1] : [control.min, control.max];
      const step = control.step ?? (max - min) / 200;
      return (
        `<div class="live-slider"><label for="${name}">${label}</label>` +
        `<input type="range" id="${name}" data-control="${i}" min="${min}" max="${max}" ` +
        `step="${step}" value="${position(control, value)}" autocomplete="off" ` +
        `aria-valuetext="${escaped(said(control, value))}">` +
        `<output for="${name}">${escaped(said(control, value))}</output></div>`
      );
    })
    .join("");
}

/**
 * What a control that was moved sets in the state.
 *
 * @param {Control} control
 * @param {HTMLInputElement | HTMLSelectElement} input
 * @returns {State}
 */
export function read(control, input) {
  if (control.kind === "button") return {};
  if (control.kind === "choice" || input instanceof HTMLSelectElement)
    return { [control.name]: input.value };
  if (control.kind === "toggle") return { [control.name]: input.checked };
  const at = input.valueAsNumber;
  const value = control.log ? control.min * (control.max / control.min) ** at : at;
  return { [control.name]: value };
}

/**
 * Show a state in its controls; the one that is being moved stays as it is.
 *
 * @param {ParentNode} root
 * @param {Control[]} controls
 * @param {State} state
 */
export function write(root, controls, state) {
  for (const input of root.querySelectorAll("[data-control]:is(input, select)")) {
    const control = controls[Number(input.getAttribute("data-control"))];
    if (!control || control.kind === "button") continue;
    const value = state[control.name];
    if (input instanceof HTMLSelectElement) input.value = String(value);
    if (!(input instanceof HTMLInputElement)) continue;
    if (control.kind === "toggle") input.checked = Boolean(value);
    else if (control.kind === "choice") input.checked = input.value === value;
    else {
      const at = position(control, value);
      if (Math.abs(input.valueAsNumber - at) > Number(input.step) / 2) input.value = String(at);
      const text = said(control, value);
      input.setAttribute("aria-valuetext", text);
      const output = input.nextElementSibling;
      if (output && output.textContent !== text) output.textContent = text;
    }
  }
}
