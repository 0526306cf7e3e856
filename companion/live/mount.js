/**
 * Figures of a page: their data, their state in the address, and how they come to life.
 */

/**
 * @typedef {{render: (where: {model: any, el: HTMLElement}) => unknown}} Shown
 */

/**
 * Numbers as Python wrote them: base64 of little-endian bytes.
 *
 * @param {{kind: string, bytes: string}} packed
 * @returns {Float64Array | Float32Array | Uint8Array | Int32Array}
 */
function numbers({ kind, bytes }) {
  const raw = Uint8Array.from(atob(bytes), (sign) => sign.charCodeAt(0));
  if (kind === "u1") return raw;
  if (kind === "f8") return new Float64Array(raw.buffer);
  if (kind === "f4") return new Float32Array(raw.buffer);
  if (kind === "i4") return new Int32Array(raw.buffer);
  const halves = new Uint16Array(raw.buffer);
  return Float32Array.from(halves, (half) => {
    const sign = half >> 15 ? -1 : 1;
    const power = (half >> 10) & 31;
    const part = half & 1023;
    if (power === 31) return part ? NaN : sign * Infinity;
    return sign * (power ? (1 + part / 1024) * 2 ** (power - 15) : (part / 1024) * 2 ** -14);
  });
}

/**
 * What Python handed over, with typed arrays for its tensors: each knows its shape.
 *
 * @param {any} value
 * @returns {any}
 */
export function decoded(value) {
  if (Array.isArray(value)) return value.map(decoded);
  if (value === null || typeof value !== "object") return value;
  if (typeof value.bytes === "string") {
    return Object.assign(numbers(value), { shape: value.shape });
  }
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, decoded(part)]));
}

/**
 * A state as a short text for an address, such as `mean*0.2*scale*0.4`.
 *
 * @param {Record<string, any>} state
 */
export function written(state) {
  const one = (/** @type {any} */ value) =>
    typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value);
  return Object.entries(state)
    .map(
      ([key, value]) =>
        `${key}*${Array.isArray(value) ? `.${value.map(one).join("_")}` : one(value)}`,
    )
    .join("*");
}

/**
 * The state that a text stands for; whether a figure can show it, is for the figure to say.
 *
 * @param {string} text
 * @returns {Record<string, any>}
 */
export function readState(text) {
  /** @type {Record<string, any>} */
  const state = {};
  const parts = text.split("*");
  for (let i = 0; i + 1 < parts.length; i += 2) {
    const [key = "", value = ""] = parts.slice(i, i + 2);
    if (value.startsWith(".")) state[key] = value.slice(1).split("_").map(Number);
    else if (value === "true" || value === "false") state[key] = value === "true";
    else state[key] = value !== "" && Number.isFinite(Number(value)) ? Number(value) : value;
  }
  return state;
}

/** What a figure is shown from: the keys `data` and `state`, as anywidget's models have them. */
class Model {
  /**
   * @param {string} id  of the figure, which is its key in the address
   * @param {any} data
   */
  constructor(id, data) {
    this.id = id;
    const found = new URLSearchParams(location.search).get(id);
    /** @type {Record<string, any>} */
    this.values = { data, state: found === null ? {} : readState(found) };
  }

  /** @param {string} key */
  get(key) {
    return this.values[key];
  }

  /**
   * @param {string} key
   * @param {any} value
   */
  set(key, value) {
    this.values[key] = value;
  }

  /** Write the state into the address, unless it is the one that the figure begins with, where a page has one of its own. */
  save_changes() {
    const text = written(this.values["state"]);
    const query = new URLSearchParams(location.search);
    if (text === written(this.values["start"])) query.delete(this.id);
    else query.set(this.id, text);
    try {
      const rest = String(query) ? `?${query}` : "";
      history.replaceState(history.state, "", `${location.pathname}${rest}${location.hash}`);
    } catch {
      // A file, or a frame without an origin: there is no address to write to.
    }
  }

  on() {}
}

/**
 * Bring the figures of one name to life.
 *
 * @param {string} name
 * @param {Shown} module
 */
export function mountAll(name, module) {
  for (const el of document.querySelectorAll(`figure[data-live="${name}"]:not([data-alive])`)) {
    const stage = el.querySelector(".live-stage");
    const given = el.querySelector('script[type="application/json"]');
    if (!(stage instanceof HTMLElement) || !given) continue;
    // The same figure twice: labels and addresses need a name for each.
    const { id } = el;
    for (let n = 2; document.getElementById(el.id) !== el; n++) el.id = `${id}-${n}`;
    el.setAttribute("data-alive", "");
    module.render({
      model: new Model(el.id, decoded(JSON.parse(given.textContent ?? "{}"))),
      el: stage,
    });
  }
}
