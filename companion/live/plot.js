/**
 * One panel of a figure: axes, curves, points and pixels, as the text of an SVG.
 *
 * Nothing here touches a page, so that a first frame can be drawn where there is none. Ink is the
 * page's, hues are its CSS variables by role: light and dark need nothing. Lengths are pixels of a
 * panel that is as wide as it says; a narrower page shrinks it.
 */

import { clamp, linspace } from "./numbers.js";

/** How many points a curve has. */
const FINE = 241;

/** What each role is painted with where a page has no hues of its own. */
const HUES = {
  prior: "#737373",
  posterior: "#0072b2",
  q: "#e69f00",
  elbo: "#009e73",
  gap: "#d55e00",
  model: "#cc79a7",
  other: "#56b4e9",
};

/**
 * @typedef {keyof typeof HUES | "ink"} Role
 * @typedef {[number, number]} Range
 * @typedef {ArrayLike<number>} Numbers
 * @typedef {{width?: number, dash?: string, opacity?: number}} Stroke
 * @typedef {{
 *   left: number, top: number, width: number, height: number,
 *   alpha: Numbers, columns: number, rows: number, role: Role, smooth: boolean,
 * }} Pixels  values from 0 to 1, row by row from the upper left corner
 */

/**
 * The paint of a role, for an attribute.
 *
 * @param {Role} role
 */
export function paint(role) {
  return role === "ink" ? "currentColor" : `var(--fig-${role},${HUES[role]})`;
}

/**
 * A number of pixels, as short as SVG needs it.
 *
 * @param {number} value
 */
const px = (value) => String(Math.round(value * 10) / 10);

/**
 * Words as text of HTML.
 *
 * @param {unknown} words
 */
export function escaped(words) {
  return String(words).replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

/**
 * A number as readers see it: a true minus sign, and no "−0.00".
 *
 * @param {number} value
 * @param {number} [digits] after the point
 */
export function shown(value, digits = 2) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "undefined" : value > 0 ? "∞" : "−∞";
  const text = value.toFixed(digits);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
}

/**
 * Round numbers that divide a range, at most as many as asked for.
 *
 * @param {Range} range
 * @param {number} most
 */
export function ticks([low, high], most) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999) ?? 10);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  /** @type {{at: number, text: string}[]} */
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) {
    found.push({ at: i * step, text: shown(i * step, digits) });
  }
  return found;
}

/**
 * Levels for words beside a bar, from the top: in order, and far enough apart to be read.
 *
 * @param {number[]} levels
 * @param {number} apart
 * @param {number} low  where the last one may stand
 */
export function spaced(levels, apart, low) {
  const found = [...levels];
  for (let i = 1; i < found.length; i++) {
    found[i] = Math.min(found[i] ?? 0, (found[i - 1] ?? 0) - apart);
  }
  for (let i = found.length - 1; i >= 0; i--) {
    found[i] = Math.max(found[i] ?? 0, low + (found.length - 1 - i) * apart);
  }
  return found;
}

/** A panel. Its methods draw, in the units of its axes, and return it. */
export class Plot {
  /**
   * @param {{
   *   x: Range, y: Range, width?: number, height?: number, title?: string,
   *   xlabel?: string, ylabel?: string, equal?: boolean, bare?: boolean, alt?: string,
   *   ticks?: [number, number],
   * }} options  equal: a unit is as long upwards as it is sideways, and the plane's middle stays;
   *   bare: no axes; ticks: how many at most along x and y
   */
  constructor(options) {
    const {
      width = 340,
      height = 250,
      title = "",
      xlabel = "",
      ylabel = "",
      bare = false,
    } = options;
    this.width = width;
    this.height = height;
    const marks = options.ticks ?? [6, 5];
    const [, most] = marks;
    const widest = Math.max(...ticks(options.y, most).map(({ text }) => text.length), 0);
    this.left = bare ? 2 : 12 + 7 * widest + (ylabel ? 16 : 0);
    this.right = width - (bare ? 2 : 10);
    this.top = title ? 24 : 8;
    this.bottom = height - (bare ? 2 : xlabel ? 40 : 24);
    /** @type {Range} */
    this.x = [...options.x];
    /** @type {Range} */
    this.y = [...options.y];
    if (options.equal) this.fit();
    this.pixelLayers = /** @type {Pixels[]} */ ([]);
    this.alt = options.alt ?? title;
    /** @type {string[]} */
    this.inside = [];
    /** @type {string[]} */
    this.above = [];
    this.frame = bare ? "" : this.axes(xlabel, ylabel, marks);
    if (title) {
      this.frame += `<text x="${px(this.left)}" y="13" class="live-title">${escaped(title)}</text>`;
    }
  }

  /** Widen one of the axes until a unit is equally long on both. */
  fit() {
    const across = (this.right - this.left) / (this.x[1] - this.x[0]);
    const up = (this.bottom - this.top) / (this.y[1] - this.y[0]);
    const unit = Math.min(across, up);
    for (const [axis, length] of /** @type {const} */ ([
      [this.x, this.right - this.left],
      [this.y, this.bottom - this.top],
    ])) {
      const middle = (axis[0] + axis[1]) / 2;
      axis[0] = middle - length / unit / 2;
      axis[1] = middle + length / unit / 2;
    }
  }

  /**
   * Pixels from the left edge of the panel.
   *
   * @param {number} x
   */
  across(x) {
    return this.left + ((x - this.x[0]) / (this.x[1] - this.x[0])) * (this.right - this.left);
  }

  /**
   * Pixels from its upper edge.
   *
   * @param {number} y
   */
  down(y) {
    return this.bottom - ((y - this.y[0]) / (this.y[1] - this.y[0])) * (this.bottom - this.top);
  }

  /**
   * What a place in the panel stands for.
   *
   * @param {number} across
   * @param {number} down
   * @returns {[number, number]}
   */
  place(across, down) {
    return [
      this.x[0] + ((across - this.left) / (this.right - this.left)) * (this.x[1] - this.x[0]),
      this.y[0] + ((this.bottom - down) / (this.bottom - this.top)) * (this.y[1] - this.y[0]),
    ];
  }

  /**
   * @param {string} xlabel
   * @param {string} ylabel
   * @param {[number, number]} most
   */
  axes(xlabel, ylabel, most) {
    const { left, right, top, bottom } = this;
    let lines = `M${px(left)} ${px(top)}V${px(bottom)}H${px(right)}`;
    let words = "";
    for (const { at, text } of most[0] ? ticks(this.x, most[0]) : []) {
      const x = px(this.across(at));
      lines += `M${x} ${px(bottom)}v4`;
      words += `<text x="${x}" y="${px(bottom + 16)}" text-anchor="middle">${text}</text>`;
    }
    for (const { at, text } of most[1] ? ticks(this.y, most[1]) : []) {
      const y = this.down(at);
      lines += `M${px(left)} ${px(y)}h-4`;
      words += `<text x="${px(left - 7)}" y="${px(y + 4)}" text-anchor="end">${text}</text>`;
    }
    if (xlabel) {
      const middle = px((left + right) / 2);
      words += `<text x="${middle}" y="${px(bottom + 33)}" text-anchor="middle">${escaped(xlabel)}</text>`;
    }
    if (ylabel) {
      const at = `translate(12 ${px((top + bottom) / 2)}) rotate(-90)`;
      words += `<text transform="${at}" text-anchor="middle">${escaped(ylabel)}</text>`;
    }
    return `<path class="live-axis" d="${lines}"/>${words}`;
  }

  /**
   * The path of a curve; a value that is not finite breaks it.
   *
   * @param {Numbers} xs
   * @param {Numbers} ys
   */
  path(xs, ys) {
    let d = "";
    let pen = "M";
    for (let i = 0; i < xs.length; i++) {
      const x = this.across(xs[i] ?? NaN);
      const y = this.down(ys[i] ?? NaN);
      if (!(Number.isFinite(x) && Number.isFinite(y))) {
        pen = "M";
        continue;
      }
      // A browser clips what lies outside, but not coordinates without limit.
      d += `${pen}${px(x)} ${px(Math.min(Math.max(y, -1e4), 1e4))}`;
      pen = "L";
    }
    return d;
  }

  /**
   * @param {Role} role
   * @param {Stroke} stroke
   */
  stroke(role, { width = 2, dash = "", opacity = 1 }) {
    return (
      `fill="none" stroke="${paint(role)}" stroke-width="${width}" stroke-linejoin="round"` +
      (dash ? ` stroke-dasharray="${dash}"` : "") +
      (opacity < 1 ? ` stroke-opacity="${opacity}"` : "")
    );
  }

  /**
   * @param {Numbers} xs
   * @param {Numbers} ys
   * @param {Role} role
   * @param {Stroke} [stroke]
   */
  line(xs, ys, role, stroke = {}) {
    this.inside.push(`<path ${this.stroke(role, stroke)} d="${this.path(xs, ys)}"/>`);
    return this;
  }

  /**
   * The graph of a function, over the whole axis; fill: how dark it is down to the base.
   *
   * @param {(x: number) => number} f
   * @param {Role} role
   * @param {Stroke & {fill?: number, base?: number}} [look]
   */
  curve(f, role, { fill = 0, base = 0, ...stroke } = {}) {
    const xs = linspace(this.x[0], this.x[1], FINE);
    const ys = xs.map(f);
    if (fill) this.area(xs, ys, role, { opacity: fill, base });
    return this.line(xs, ys, role, stroke);
  }

  /**
   * The rim of a box.
   *
   * @param {Range} x
   * @param {Range} y
   * @param {Role} [role]
   * @param {Stroke} [stroke]
   */
  rim([left, right], [low, high], role = "ink", stroke = {}) {
    const corners = [
      [left, right, right, left, left],
      [low, low, high, high, low],
    ];
    const [xs = [], ys = []] = corners;
    return this.line(xs, ys, role, { width: 1, opacity: 0.5, ...stroke });
  }

  /**
   * What lies between a curve and a level.
   *
   * @param {Numbers} xs
   * @param {Numbers} ys
   * @param {Role} role
   * @param {{opacity?: number, base?: number}} [look]
   */
  area(xs, ys, role, { opacity = 0.2, base = 0 } = {}) {
    const last = xs[xs.length - 1] ?? 0;
    const ends = `L${px(this.across(last))} ${px(this.down(base))}L${px(this.across(xs[0] ?? 0))} ${px(this.down(base))}Z`;
    this.inside.push(
      `<path fill="${paint(role)}" fill-opacity="${opacity}" d="${this.path(xs, ys)}${ends}"/>`,
    );
    return this;
  }

  /**
   * Round points, all in one path.
   *
   * @param {Numbers} xs
   * @param {Numbers} ys
   * @param {Role} role
   * @param {{size?: number, opacity?: number}} [look]
   */
  points(xs, ys, role, { size = 5, opacity = 1 } = {}) {
    let d = "";
    for (let i = 0; i < xs.length; i++) {
      d += `M${px(this.across(xs[i] ?? 0))} ${px(this.down(ys[i] ?? 0))}h0`;
    }
    this.inside.push(
      `<path fill="none" stroke="${paint(role)}" stroke-width="${size}" stroke-linecap="round"` +
        `${opacity < 1 ? ` stroke-opacity="${opacity}"` : ""} d="${d}"/>`,
    );
    return this;
  }

  /**
   * A level, from edge to edge.
   *
   * @param {{x?: number, y?: number}} at
   * @param {Role} role
   * @param {Stroke} [stroke]
   */
  rule({ x, y }, role, stroke = {}) {
    const d =
      x !== undefined
        ? `M${px(this.across(x))} ${px(this.top)}V${px(this.bottom)}`
        : `M${px(this.left)} ${px(this.down(y ?? 0))}H${px(this.right)}`;
    this.inside.push(`<path ${this.stroke(role, { width: 1.5, ...stroke })} d="${d}"/>`);
    return this;
  }

  /**
   * A filled box.
   *
   * @param {Range} x
   * @param {Range} y
   * @param {Role} role
   * @param {{opacity?: number}} [look]
   */
  box(x, y, role, { opacity = 1 } = {}) {
    const left = Math.min(this.across(x[0]), this.across(x[1]));
    const top = Math.min(this.down(y[0]), this.down(y[1]));
    const width = Math.abs(this.across(x[1]) - this.across(x[0]));
    const height = Math.abs(this.down(y[1]) - this.down(y[0]));
    this.inside.push(
      `<rect x="${px(left)}" y="${px(top)}" width="${px(width)}" height="${px(height)}" ` +
        `fill="${paint(role)}"${opacity < 1 ? ` fill-opacity="${opacity}"` : ""}/>`,
    );
    return this;
  }

  /**
   * The ellipse {m + r (a cos t + b sin t)}; a and b default to the axes' directions.
   *
   * @param {[number, number]} mean
   * @param {[number, number]} a
   * @param {[number, number]} b
   * @param {Role} role
   * @param {Stroke & {fill?: number}} [look]
   */
  ellipse(mean, a, b, role, look = {}) {
    let d = "";
    for (let i = 0; i < 48; i++) {
      const c = Math.cos((i * Math.PI) / 24);
      const s = Math.sin((i * Math.PI) / 24);
      const x = this.across(mean[0] + a[0] * c + b[0] * s);
      const y = this.down(mean[1] + a[1] * c + b[1] * s);
      d += `${i ? "L" : "M"}${px(x)} ${px(y)}`;
    }
    const stroke = this.stroke(role, look).replace(
      'fill="none"',
      look.fill ? `fill="${paint(role)}" fill-opacity="${look.fill}"` : 'fill="none"',
    );
    this.inside.push(`<path ${stroke} d="${d}Z"/>`);
    return this;
  }

  /**
   * A line with a head at its end.
   *
   * @param {[number, number]} from
   * @param {[number, number]} to
   * @param {Role} role
   * @param {Stroke} [stroke]
   */
  arrow(from, to, role, stroke = {}) {
    const [x0, y0, x1, y1] = [
      this.across(from[0]),
      this.down(from[1]),
      this.across(to[0]),
      this.down(to[1]),
    ];
    const length = Math.hypot(x1 - x0, y1 - y0);
    if (length < 1) return this;
    const [u, v] = [((x1 - x0) / length) * 7, ((y1 - y0) / length) * 7];
    const head = `M${px(x1 - u - v / 2)} ${px(y1 - v + u / 2)}L${px(x1)} ${px(y1)}L${px(x1 - u + v / 2)} ${px(y1 - v - u / 2)}`;
    this.inside.push(
      `<path ${this.stroke(role, stroke)} d="M${px(x0)} ${px(y0)}L${px(x1)} ${px(y1)}${head}"/>`,
    );
    return this;
  }

  /**
   * Words, with a rim in the page's ground so that a curve behind them does not strike them out.
   *
   * @param {number} x
   * @param {number} y
   * @param {unknown} words
   * @param {{role?: Role, anchor?: "start" | "middle" | "end", dx?: number, dy?: number,
   *   bold?: boolean}} [look]
   */
  text(x, y, words, { role = "ink", anchor = "start", dx = 0, dy = 0, bold = false } = {}) {
    // Whatever it stands beside, it stays in the panel.
    const left = clamp(this.across(x) + dx, [0, this.width]);
    const base = clamp(this.down(y) + dy, [12, this.height - 3]);
    if (Number.isNaN(left + base)) return this;
    this.above.push(
      `<text class="live-words" x="${px(left)}" y="${px(base)}" ` +
        `text-anchor="${anchor}" fill="${paint(role)}"${bold ? ' font-weight="600"' : ""}>` +
        `${escaped(words)}</text>`,
    );
    return this;
  }

  /**
   * Pixels between two corners: how much of the role's ink each has, from 0 to 1.
   *
   * @param {Numbers} alpha  row by row from the upper left
   * @param {number} columns
   * @param {{x?: Range, y?: Range, role?: Role, smooth?: boolean}} [look]  of the whole panel by
   *   default; smooth: without visible edges between pixels
   */
  pixels(alpha, columns, { x = this.x, y = this.y, role = "ink", smooth = false } = {}) {
    this.pixelLayers.push({
      left: this.across(x[0]),
      top: this.down(y[1]),
      width: this.across(x[1]) - this.across(x[0]),
      height: this.down(y[0]) - this.down(y[1]),
      alpha,
      columns,
      rows: Math.round(alpha.length / columns),
      role,
      smooth,
    });
    return this;
  }

  /** All that was drawn, less the pixels; what leaves the axes is cut. */
  svg() {
    const box = [this.left, this.top, this.right - this.left, this.bottom - this.top].map(px);
    const [left, top, width, height] = box;
    return (
      `<svg x="${left}" y="${top}" width="${width}" height="${height}" viewBox="${box.join(" ")}">` +
      `${this.inside.join("")}</svg>${this.frame}${this.above.join("")}`
    );
  }
}
