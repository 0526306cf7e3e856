/**
 * A diffusion model at work: 400 points, or a digit, on their way from noise to data and back.
 *
 * Each path has noise of its own, so that time can be dragged both ways. A fork starts again from
 * z_t of one path, with fresh noise: what all endings have in common was decided before t.
 */

import { figure } from "../figure.js";
import { named } from "../marks.js";
import { clamp, last } from "../numbers.js";
import { Plot } from "../plot.js";
import { generator, normal } from "../random.js";

const POINTS = 400;
const DIGITS = 40;
const FORKS = { wheel: 30, digits: 12 };
const SIZE = { wheel: 2, digits: 64 };
/** Levels from which the endings of the chosen point are counted: 2, 5, …, 50. */
const EVERY = Array.from({ length: 17 }, (_, i) => 3 * i + 2);
/** Below this level the fork tells what the question asks. */
const SECRET = 38;
/** Levels of a digit's path that are shown small. */
const SHOWN = [50, 40, 30, 20, 10, 0];
const FEATURES = 8;
/** @type {import("../plot.js").Role[]} */
const ARMS = ["posterior", "elbo", "gap", "model", "other"];
const PLANE = /** @type {[number, number]} */ ([-3.1, 3.1]);

/**
 * @typedef {import("../net.js").Layer[]} Net
 * @typedef {"wheel" | "digits"} Kind
 * @typedef {{top: Float64Array, steps: Float64Array}} Noise  of one path: z_T, and D numbers a step
 * @typedef {{
 *   wheel: Step, digits: Step, levels: number, paths: Float64Array[], arms: number[],
 *   digit: (index: number) => Float64Array[],
 *   fork: (seed: number) => Float64Array[], profile: (key: number) => number[][],
 *   strokes: (seed: number) => Float64Array[],
 * }} Ready  paths: of all points, by level, x and y in turn; level 0 is the last guess
 * @typedef {{
 *   guess: (z: Float64Array, t: number, into: Float64Array) => void,
 *   down: (z: Float64Array, t: number, noise: Float64Array, at: number) => void,
 *   size: number,
 * }} Step
 */

/**
 * A network that is asked again and again: its weights as plain arrays, its layers' outputs kept.
 *
 * @param {Net} net
 */
function fast(net) {
  const layers = net.map(({ weight, bias, then }) => ({
    weight: Float64Array.from(weight),
    bias: Float64Array.from(bias),
    silu: then === "silu",
    out: new Float64Array(bias.length),
  }));
  return (/** @type {Float64Array} */ input) => {
    let x = input;
    for (const { weight, bias, silu, out } of layers) {
      const [rows, columns] = [bias.length, x.length];
      for (let i = 0, k = 0; i < rows; i++) {
        let sum = /** @type {number} */ (bias[i]);
        for (let j = 0; j < columns; j++, k++)
          sum += /** @type {number} */ (weight[k]) * /** @type {number} */ (x[j]);
        out[i] = silu ? sum / (1 + Math.exp(-sum)) : sum;
      }
      x = out;
    }
    return x;
  };
}

/**
 * The guess of x from z_t, and the step from z_t to z_{t−1}.
 *
 * @param {Net} net
 * @param {Kind} kind  the network of the pinwheel guesses the noise, that of the digits x
 * @param {any} tables  of the schedule, level 1 first
 * @returns {Step}
 */
function walker(net, kind, { log_snr, of_z, of_x, noise }) {
  const size = SIZE[kind];
  const run = fast(net);
  const input = new Float64Array(size + FEATURES);
  const hat = new Float64Array(size);
  const times = Array.from(log_snr, (/** @type {number} */ value) =>
    Float64Array.from({ length: FEATURES }, (_, k) =>
      Math.cos(((k + 1) * Math.PI * (value + 10)) / 20),
    ),
  );
  /** @type {Step["guess"]} */
  const guess = (z, t, into) => {
    input.set(z);
    input.set(times[t - 1] ?? [], size);
    const found = run(input);
    if (kind === "digits") return into.set(found);
    const signal = Math.sqrt(1 / (1 + Math.exp(-log_snr[t - 1])));
    const sigma = Math.sqrt(1 / (1 + Math.exp(log_snr[t - 1])));
    for (let i = 0; i < size; i++) into[i] = ((z[i] ?? 0) - sigma * (found[i] ?? 0)) / signal;
  };
  return {
    size,
    guess,
    /** Overwrites z; from z_1 it goes to the guess itself: the tables hold 0, 1 and 0 there. */
    down(z, t, eps, at) {
      guess(z, t, hat);
      const [a, b, s] = [of_z[t - 1], of_x[t - 1], noise[t - 1]];
      for (let i = 0; i < size; i++)
        z[i] = a * (z[i] ?? 0) + b * (hat[i] ?? 0) + s * (eps[at + i] ?? 0);
    },
  };
}

/**
 * A path from z_T to the last guess, by level: [0] is the guess from z_1.
 *
 * @param {Step} step
 * @param {number} levels
 * @param {() => number} random
 */
function path(step, levels, random) {
  const z = Float64Array.from({ length: step.size }, random);
  const eps = new Float64Array(step.size);
  /** @type {Float64Array[]} */
  const found = new Array(levels + 1);
  found[levels] = z.slice();
  for (let t = levels; t > 0; t--) {
    for (let i = 0; i < step.size; i++) eps[i] = random();
    step.down(z, t, eps, 0);
    found[t - 1] = z.slice();
  }
  return found;
}

/**
 * Endings from one z_t, each with noise of its own: that of a step is the same from every t.
 *
 * @param {Step} step
 * @param {Float64Array} z
 * @param {number} t
 * @param {Float64Array[]} noise  a row each
 */
function endings(step, z, t, noise) {
  return noise.map((eps) => {
    const own = z.slice();
    for (let level = t; level > 0; level--) step.down(own, level, eps, (level - 1) * step.size);
    return own;
  });
}

/**
 * The arm of the pinwheel in which a point lies; an arm bends by 0.25 exp(radius).
 *
 * @param {ArrayLike<number>} point
 */
function armOf(point) {
  const [x, y] = [point[0] ?? 0, point[1] ?? 0];
  const angle = Math.atan2(y, x) - 0.25 * Math.exp(0.74 * Math.hypot(x, y));
  return ((Math.round((5 * angle) / (2 * Math.PI)) % 5) + 5) % 5;
}

/**
 * How many of the endings lie in each arm.
 *
 * @param {ArrayLike<number>[]} ends
 */
function counted(ends) {
  const counts = [0, 0, 0, 0, 0];
  for (const one of ends) counts[armOf(one)] = (counts[armOf(one)] ?? 0) + 1;
  return counts;
}

/**
 * @param {number} seed
 * @param {number} rows
 * @param {number} length
 */
function rowsOf(seed, rows, length) {
  const random = normal(generator(seed));
  return Array.from({ length: rows }, () => Float64Array.from({ length }, random));
}

/**
 * What one point's endings are, from z_t.
 *
 * @param {Ready} data
 * @param {number} index
 * @param {number} t
 * @param {number} seed
 */
function forked(data, index, t, seed) {
  const z = (data.paths[t] ?? new Float64Array()).slice(2 * index, 2 * index + 2);
  return endings(data.wheel, z, t, data.fork(seed));
}

const hidden = (/** @type {any} */ { show, t }, /** @type {boolean} */ guessing) =>
  guessing && show === "wheel" && t < SECRET;
const most = (/** @type {number[]} */ counts) => Math.max(...counts);
const inArms = (/** @type {number[]} */ counts) => counts.filter((count) => count > 0).length;
const arms = (/** @type {number} */ number) => (number === 1 ? "one arm" : `${number} arms`);

export default figure({
  start: { t: 40, point: 7, digit: 3, seed: 0, fork: true, show: "wheel" },
  limits: { point: [0, POINTS - 1], digit: [0, DIGITS - 1], seed: [0, 999] },

  /** @returns {Ready} */
  prepare(raw) {
    const levels = raw.log_snr.length;
    const [wheel, digits] = [walker(raw.wheel, "wheel", raw), walker(raw.digits, "digits", raw)];
    const random = normal(generator(11));
    const own = Array.from({ length: POINTS }, () => path(wheel, levels, random));
    const paths = Array.from({ length: levels + 1 }, (_, t) => {
      const both = new Float64Array(2 * POINTS);
      own.forEach((one, n) => both.set(one[t] ?? [], 2 * n));
      return both;
    });
    const fork = last((/** @type {number} */ seed) =>
      rowsOf(5000 + seed, FORKS.wheel, levels * SIZE.wheel),
    );
    const strokes = last((/** @type {number} */ seed) =>
      rowsOf(7000 + seed, FORKS.digits, levels * SIZE.digits),
    );
    /** @type {Ready} */
    const data = {
      wheel,
      digits,
      levels,
      paths,
      arms: own.map(([end]) => armOf(end ?? [])),
      fork,
      strokes,
      digit: last((index) => path(digits, levels, normal(generator(9000 + index)))),
      profile: last((key) =>
        EVERY.map((t) => counted(forked(data, key % POINTS, t, Math.floor(key / POINTS)))),
      ),
    };
    return data;
  },

  compute({ t, point, digit, seed, fork, show }, /** @type {Ready} */ data) {
    const [index, fresh] = [Math.round(point), Math.round(seed)];
    const wheel = show === "wheel";
    const step = wheel ? data.wheel : data.digits;
    const whole = wheel ? [] : data.digit(Math.round(digit));
    const z = wheel
      ? (data.paths[t] ?? new Float64Array()).slice(2 * index, 2 * index + 2)
      : (whole[t] ?? new Float64Array(64));
    const guessed = (/** @type {Float64Array} */ from, /** @type {number} */ level) => {
      const found = from.slice();
      if (level > 0) step.guess(from, level, found);
      return found;
    };
    const noise = wheel ? data.fork(fresh) : data.strokes(fresh);
    const ends = fork ? endings(step, z, t, noise) : [];
    return {
      z,
      guess: guessed(z, t),
      ends,
      counts: wheel ? counted(ends) : [],
      profile: wheel && fork ? data.profile(fresh * POINTS + index) : [],
      points: wheel ? data.paths[t] : [],
      noise: fork ? noise : [],
      whole,
      guesses: whole.length ? SHOWN.map((at) => guessed(whole[at] ?? z, at)) : [],
    };
  },

  draw(state, values, data, { guessing }) {
    const secret = hidden(state, guessing);
    return state.show === "wheel"
      ? [plane(state, values, data, secret), counts(state, values, secret, guessing)]
      : [digit(state, values), sheet(values)];
  },

  says({ t, fork, show }, { counts: found }, { guessing }) {
    if (show === "digits")
      return t < 1
        ? "t = 0: the digit is drawn."
        : `t = ${t}: the guess from z${fork ? ", and twelve endings from this z" : ""}.`;
    if (!fork) return `t = ${t}.`;
    if (hidden({ show, t }, guessing)) return `t = ${t}: guess first, then press Compare.`;
    return (
      `t = ${t}: from this z, ${FORKS.wheel} endings lie in ${arms(inArms(found))}, ` +
      `${most(found)} of them in the most frequent one.`
    );
  },

  press: {
    panel: 0,
    label: "The plane: a click chooses the nearest point; arrows move a pen, Space chooses there",
    area: [PLANE, PLANE],
    move({ t, show }, [x, y], /** @type {Ready} */ { paths }) {
      if (show !== "wheel") return {};
      const places = paths[Math.round(t)] ?? [];
      let [best, least] = [0, Infinity];
      for (let n = 0; n < POINTS; n++) {
        const far = ((places[2 * n] ?? 0) - x) ** 2 + ((places[2 * n + 1] ?? 0) - y) ** 2;
        if (far < least) [best, least] = [n, far];
      }
      return { point: best };
    },
  },

  controls: [
    {
      kind: "slider",
      name: "t",
      label: "data ← t → noise",
      min: 0,
      max: 50,
      step: 1,
      text: (t) => `t = ${t}`,
    },
    {
      kind: "choice",
      name: "show",
      label: "Show",
      options: [
        ["wheel", "points"],
        ["digits", "a digit"],
      ],
    },
    { kind: "toggle", name: "fork", label: "Fork" },
    {
      kind: "button",
      label: "Fork with other noise",
      press: ({ seed }) => ({ fork: true, seed: (seed + 1) % 1000 }),
    },
    {
      kind: "button",
      label: "Another path",
      press: ({ show, point, digit }) =>
        show === "wheel" ? { point: (point + 1) % POINTS } : { digit: (digit + 1) % DIGITS },
    },
  ],

  play: {
    label: "Play",
    step: ({ t }) => (t > 0 ? { t: t - 1 } : null),
    again: () => ({ t: 50 }),
    every: 60,
  },

  guess: {
    kind: "number",
    question:
      "At t = 40 the endings of one point scatter over the arms. Go down towards the data: from which t " +
      "on do at least 29 of 30 endings share one arm?",
    label: "from t =",
    min: 0,
    max: 50,
    start: 38,
    digits: 0,
    truth({ point, seed }, _, /** @type {Ready} */ data) {
      let t = 0;
      const [index, fresh] = [Math.round(point), Math.round(seed)];
      while (t < data.levels && most(counted(forked(data, index, t + 1, fresh))) >= 29) t++;
      return t;
    },
  },
});

/**
 * All points at level t in the colour of the arm where they end; of the chosen one its path, its
 * guess, and the endings of its fork.
 *
 * @param {any} state
 * @param {any} values
 * @param {Ready} data
 * @param {boolean} secret
 */
function plane(
  { t, point, fork },
  { z, guess, ends, points },
  { paths, arms: own, levels },
  secret,
) {
  const plot = new Plot({
    x: [...PLANE],
    y: [...PLANE],
    width: 350,
    height: 346,
    equal: true,
    ticks: [6, 6],
    title: " ",
    alt:
      "The plane with 400 points in the colour of the arm where each will end; the path of the " +
      "chosen point, a line to its guess, and the endings of its fork.",
  });
  blank(plot, 3);
  const forking = fork && !secret;
  ARMS.forEach((role, arm) => {
    const those = own.flatMap((one, n) => (one === arm ? [n] : []));
    const [xs, ys] = [0, 1].map((k) => those.map((n) => points[2 * n + k] ?? 0));
    plot.points(xs ?? [], ys ?? [], role, { size: 5, opacity: forking ? 0.4 : 0.8 });
  });
  const trail = Array.from({ length: levels - t + 1 }, (_, i) => paths[levels - i] ?? []);
  plot.line(
    trail.map((places) => places[2 * point] ?? 0),
    trail.map((places) => places[2 * point + 1] ?? 0),
    "ink",
    { width: 1.5, opacity: 0.7 },
  );
  if (forking) {
    const [xs, ys] = [0, 1].map((k) => ends.map((/** @type {number[]} */ one) => one[k] ?? 0));
    plot.points(xs ?? [], ys ?? [], "ink", { size: 10 });
    ARMS.forEach((role, arm) => {
      const those = ends.filter((/** @type {number[]} */ one) => armOf(one) === arm);
      plot.points(
        those.map((/** @type {number[]} */ one) => one[0] ?? 0),
        those.map((/** @type {number[]} */ one) => one[1] ?? 0),
        role,
        { size: 7.5 },
      );
    });
  }
  const [x = 0, y = 0] = z;
  const [gx = 0, gy = 0] = guess;
  if (t > 0) {
    plot.line([x, gx], [y, gy], "q", { width: 2.5 });
    const [dx, dy] = [0.12, 0.12];
    plot.line(
      [gx - dx, gx + dx, NaN, gx - dx, gx + dx],
      [gy - dy, gy + dy, NaN, gy + dy, gy - dy],
      "q",
      {
        width: 3,
      },
    );
    const near = Math.max(Math.abs(gx), Math.abs(gy)) < PLANE[1];
    if (near && Math.hypot(x - gx, y - gy) > 0.4)
      plot.text(gx, gy, "guess", {
        role: "q",
        dx: gx > 1.6 ? -10 : 10,
        anchor: gx > 1.6 ? "end" : "start",
        dy: 4,
        bold: true,
      });
  }
  plot.points([x], [y], "ink", { size: 12 });
  plot.text(x, y, t > 0 ? "z" : "x", {
    dx: x > 2.4 ? -10 : 10,
    anchor: x > 2.4 ? "end" : "start",
    dy: -7,
    bold: true,
  });
  return named(plot, [
    [`t = ${t}`, "ink"],
    ["colour: the arm where it ends", "prior"],
  ]);
}

/**
 * Of the chosen point's endings, how many lie in which arm: from every third level.
 *
 * @param {any} state
 * @param {any} values
 * @param {boolean} secret
 * @param {boolean} guessing
 */
function counts({ t, fork }, { counts: found, profile }, secret, guessing) {
  const plot = new Plot({
    x: [0, 52],
    y: [0, FORKS.wheel],
    width: 310,
    height: 346,
    ticks: [6, 6],
    title: " ",
    xlabel: "fork at level t",
    ylabel: "endings in each arm",
    alt:
      "Bars over the level t of a fork: thirty endings of the chosen point, stacked by the arm in " +
      "which they lie. The present level is marked.",
  });
  blank(plot, 1);
  profile.forEach((/** @type {number[]} */ bar, /** @type {number} */ i) => {
    const level = EVERY[i] ?? 0;
    if (guessing && level < SECRET) return;
    stack(plot, level, bar, 0.55);
  });
  const shown = fork && !secret && t > 0;
  if (shown) stack(plot, t, found, 1);
  plot.rule({ x: t }, "ink", { width: 1.5, dash: "4 3" });
  if (guessing && fork) {
    plot.text(19, 16, "guess first", { anchor: "middle", bold: true });
  }
  return named(
    plot,
    !fork
      ? [["Fork is off", "ink"]]
      : [[secret ? "endings hidden" : `${FORKS.wheel} endings in ${arms(inArms(found))}`, "ink"]],
  );
}

/**
 * @param {Plot} plot
 * @param {number} level
 * @param {number[]} bar
 * @param {number} opacity
 */
function stack(plot, level, bar, opacity) {
  let base = 0;
  bar.forEach((count, arm) => {
    if (count)
      plot.box([level - 1.2, level + 1.2], [base, base + count], ARMS[arm] ?? "ink", { opacity });
    base += count;
  });
}

/**
 * Canvases that this mode leaves empty: a panel has as many in each.
 *
 * @param {Plot} plot
 * @param {number} layers
 */
function blank(plot, layers) {
  for (let i = 0; i < layers; i++) plot.pixels(new Float32Array(1), 1);
}

/** A pixel in [−1, 1] as ink. */
const ink = (/** @type {number} */ value) => clamp((value + 1) / 2, [0, 1]);

/**
 * z_t and its guess, large, and below them both along the path.
 *
 * @param {any} state
 * @param {any} values
 */
function digit({ t }, { z, guess, whole, guesses }) {
  const plot = new Plot({
    x: [0, 346],
    y: [0, 342],
    width: 350,
    height: 346,
    bare: true,
    alt:
      "The noisy picture z and the guess of x beside it; below, six levels of the path: z, and " +
      "under each its guess.",
  });
  const side = 146;
  const [top, left, right] = [316, 14, 186];
  for (const [from, picture, name] of /** @type {[number, Float64Array, string][]} */ ([
    [left, z, t > 0 ? `z, t = ${t}` : "x, t = 0"],
    [right, guess, t > 0 ? "guess" : "x"],
  ])) {
    const sides = /** @type {[number, number]} */ ([from, from + side]);
    plot.pixels(Array.from(picture, ink), 8, { x: sides, y: [top - side, top] });
    plot.rim(sides, [top - side, top]).text(from, top, name, { dy: -7, bold: true });
  }
  const strip = tiled([...SHOWN.map((level) => whole[level]), ...guesses], 6);
  const wide = right + side - left;
  const [low, high] = [26, 26 + (wide * 18) / strip.columns];
  plot.pixels(strip.ink, strip.columns, { x: [left, left + wide], y: [low, high] });
  plot.text(left, high, "this path: z, and below it the guess", { dy: -7, bold: true });
  SHOWN.forEach((level, i) => {
    const middle = left + ((10 * i + 4) / strip.columns) * wide;
    plot.text(middle, low, `${level}`, { anchor: "middle", dy: 17 });
  });
  return plot.text(0, low, "t", { dy: 17 });
}

/**
 * Twelve endings from one z_t.
 *
 * @param {any} values
 */
function sheet({ ends }) {
  const plot = new Plot({
    x: [0, 306],
    y: [0, 342],
    width: 310,
    height: 346,
    bare: true,
    alt: "Twelve digits: endings from the present z_t, each with fresh noise.",
  });
  const found = tiled(ends.length ? ends : new Array(12).fill(new Float64Array(64).fill(-1)), 4);
  plot.pixels(found.ink, found.columns, { x: [0, 306], y: [316 - (306 * 28) / 38, 316] });
  return plot.text(0, 316, ends.length ? "twelve endings from this z" : "Fork is off", {
    dy: -7,
    bold: true,
  });
}

/**
 * Pictures in rows, two pixels apart.
 *
 * @param {ArrayLike<number>[]} pictures
 * @param {number} across
 */
function tiled(pictures, across) {
  const columns = 10 * across - 2;
  const rows = 10 * Math.ceil(pictures.length / across) - 2;
  const found = new Float32Array(columns * rows);
  pictures.forEach((picture, n) => {
    const [left, top] = [10 * (n % across), 10 * Math.floor(n / across)];
    for (let i = 0; i < 64; i++)
      found[(top + (i >> 3)) * columns + left + (i & 7)] = ink(picture[i] ?? 0);
  });
  return { ink: found, columns };
}
