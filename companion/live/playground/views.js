/** What a model that learns looks like: data and samples, codes, the bound over time, the trail. */

import { sum } from "../numbers.js";
import { Plot, shown, spaced } from "../plot.js";

/**
 * @typedef {import("./training.js").View} View
 * @typedef {import("./training.js").Bounds} Bounds
 * @typedef {import("./training.js").Options} Options
 * @typedef {import("../plot.js").Range} Range
 *
 * @typedef {{view: View, bounds: Bounds, data: string}} Kept  a model to compare with
 * @typedef {{step: number, elbo: number, logMarginal: number | null}} Integrated
 * @typedef {{step: number, rates: number[], distortion: number}} Watched
 * @typedef {{step: number, train: string}} Phase  from this step on
 * @typedef {{rate: number, distortion: number, beta: number}} Settled  where a β led
 * @typedef {{
 *   options: Options, view: View | null, bounds: Bounds | null, level: number,
 *   chosen: import("./training.js").Chosen,
 *   integrated: Integrated[], watched: Watched[], phases: Phase[], settled: Settled[],
 *   kept: Kept | null, rest: number | null,
 * }} Seen  all that the views show; `level` counts from 0, `rest` is the step after which all came
 */

/** How far the plane of the data, and that of the codes, reach. */
const REACH = 3.2;
/** That of the data is drawn larger. */
const NEAR = 2.75;
/** How many of the posteriors are drawn one by one. */
const SINGLE = 40;

/**
 * Every second entry where a history has become long: its ends stay.
 *
 * @template T
 * @param {T[]} history
 * @param {T} entry
 */
export function remember(history, entry) {
  history.push(entry);
  if (history.length > 800)
    history.splice(0, Infinity, ...history.filter((_, i) => i % 2 || i < 1));
}

/**
 * One column of rows of numbers.
 *
 * @param {ArrayLike<number>} rows
 * @param {number} width
 * @param {number} j
 * @param {number} [most]
 */
function column(rows, width, j, most = Infinity) {
  const length = Math.min(Math.floor(rows.length / width), most);
  return Array.from({ length }, (_, i) => rows[i * width + j] ?? 0);
}

/**
 * What the colours of a plane stand for, in a line below it.
 *
 * @param {Plot} plot
 * @param {[string, import("../plot.js").Role][]} words
 */
function key(plot, words) {
  let across = 0;
  for (const [text, role] of words) {
    plot.text(plot.x[0], plot.y[0], text, { dx: across, dy: 17, role });
    across += 7 * text.length + 12;
  }
  return plot;
}

/** @param {Seen} seen */
function dataPlane({ options, view, chosen }) {
  const plot = new Plot({
    x: [-NEAR, NEAR],
    y: [-NEAR, NEAR],
    width: 330,
    height: 310,
    equal: true,
    ticks: [0, 0],
    title: options.data === "drawn" ? "x: draw here with the pointer" : "the plane of x",
    alt: "The plane of x: data points, samples from the model, and the decoder's image of the codes.",
  });
  if (options.data === "drawn") {
    plot.points(column(options.clicks, 2, 0), column(options.clicks, 2, 1), "gap", {
      size: 4,
      opacity: 0.5,
    });
  }
  key(plot, [
    ["data", "ink"],
    ["samples", "model"],
    ["image of the z plane", "other"],
  ]);
  if (!view) return plot;
  const { manifold, samples, x } = view;
  if (options.units === 1) {
    plot.line(column(manifold, 2, 0), column(manifold, 2, 1), "other", { width: 2.5 });
  } else {
    const side = Math.round(Math.sqrt(manifold.length / 2));
    const [across, down] = [column(manifold, 2, 0), column(manifold, 2, 1)];
    for (let i = 0; i < side; i += 2) {
      const one = Array.from({ length: side }, (_, k) => i * side + k);
      const other = one.map((_, k) => k * side + i);
      for (const line of [one, other]) {
        plot.line(
          line.map((k) => across[k] ?? 0),
          line.map((k) => down[k] ?? 0),
          "other",
          { width: 1, opacity: 0.7 },
        );
      }
    }
  }
  const drawn = samples[0] ?? [];
  plot
    .points(column(x, 2, 0), column(x, 2, 1), "ink", { size: 4, opacity: 0.55 })
    .points(column(drawn, 2, 0), column(drawn, 2, 1), "model", { size: 3.5, opacity: 0.8 });
  if (!chosen) {
    const can = options.levels === 1 && options.data !== "drawn";
    return can
      ? plot.text(2.3, -2.3, "drag me to a point x", { dx: -14, dy: 4, anchor: "end", role: "gap" })
      : plot;
  }
  // The way of one point: q gives some codes, and each is decoded.
  const [at0 = 0, at1 = 0] = chosen.x;
  for (let k = 0; k < chosen.decoded.length; k += 2) {
    const [to0 = 0, to1 = 0] = chosen.decoded.slice(k, k + 2);
    plot.line([at0, to0], [at1, to1], "q", { width: 1.5 }).points([to0], [to1], "q", { size: 6 });
  }
  return plot.text(at0, at1, "x", { dx: 12, dy: -8, role: "gap", bold: true });
}

/**
 * A density over the line, as the average of Gaussians.
 *
 * @param {number[]} axis
 * @param {ArrayLike<number>} q  means and log-variances side by side
 */
function mixture(axis, q) {
  const count = q.length / 2;
  return axis.map((z) => {
    let sum = 0;
    for (let n = 0; n < count; n++) {
      const logvar = q[2 * n + 1] ?? 0;
      sum += Math.exp(-0.5 * ((z - (q[2 * n] ?? 0)) ** 2 / Math.exp(logvar) + logvar));
    }
    return sum / Math.max(count, 1) / Math.sqrt(2 * Math.PI);
  });
}

/** @param {Seen} seen */
function codes({ options, view, level, chosen }) {
  const { levels, units } = options;
  const name = levels === 1 ? "z" : `z${"₁₂₃"[level]}`;
  const title = chosen
    ? `${name}: what explains this x`
    : `the ${units === 1 ? "line" : "plane"} of ${name}`;
  const alt = `The codes ${name}: the encoder's Gaussians for data points, draws from them, and the prior.`;
  const q = view?.q[level] ?? new Float64Array();
  const prior = view?.samples[level + 1] ?? new Float64Array();
  const top = level === levels - 1;
  if (units === 1) {
    const ends = Math.max(REACH, ...[...column(q, 2, 0), ...(top ? [] : prior)].map(Math.abs));
    const axis = Array.from({ length: 161 }, (_, i) => ends * (i / 80 - 1));
    const average = mixture(axis, q);
    const ahead = top
      ? axis.map((z) => Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI))
      : mixture(axis, Float64Array.from([...prior].flatMap((z) => [z, 2 * Math.log(0.15)])));
    const plot = new Plot({
      x: [-ends, ends],
      y: [0, Math.max(0.5, ...average) * 1.6],
      width: 330,
      height: 310,
      title,
      alt,
      ticks: [6, 0],
    });
    for (let n = 0; n < (chosen ? 0 : Math.min(SINGLE, q.length / 2)); n++) {
      const own = mixture(axis, q.slice(2 * n, 2 * n + 2));
      plot.line(axis, own, "q", { width: 1, opacity: 0.35 });
    }
    if (chosen) {
      const most = Math.max(...chosen.density, 1e-9);
      const high = plot.y[1] * 0.9;
      // As tall as the panel: a density of one point would leave it.
      plot.area(
        chosen.axis,
        chosen.density.map((one) => (one / most) * high),
        "posterior",
        { opacity: 0.25 },
      );
      const own = mixture(chosen.axis, chosen.q);
      plot.line(
        chosen.axis,
        own.map((one) => (one / most) * high),
        "q",
        { width: 2.5 },
      );
    }
    if (!chosen) plot.area(axis, average, "posterior").line(axis, average, "posterior");
    plot.line(axis, ahead, "prior", { dash: "5 3" });
    /** @type {[string, import("../plot.js").Role][]} */
    const words = chosen
      ? [
          [chosen.mine ? "your q" : "q(z | x)", "q"],
          ["true posterior", "posterior"],
        ]
      : [
          ["q of some data", "q"],
          ["average", "posterior"],
          ["prior", "prior"],
        ];
    words.forEach(([text, role], i) =>
      plot.text(-ends, plot.y[1], text, { role, dx: 6, dy: 14 + 16 * i }),
    );
    return plot;
  }
  const ends = Math.max(
    REACH,
    ...[...column(q, 4, 0), ...column(q, 4, 1)].map((m) => Math.abs(m) + 0.3),
  );
  const plot = new Plot({
    x: [-ends, ends],
    y: [-ends, ends],
    width: 330,
    height: 310,
    equal: true,
    title,
    alt,
    ticks: [0, 0],
  });
  if (chosen) {
    const [low = 0, high = 0] = chosen.ends;
    const half = (high - low) / (chosen.side - 1) / 2;
    /** @type {Range} */
    const side = [low - half, high + half];
    plot.pixels(
      chosen.density.map((one) => 0.85 * one),
      chosen.side,
      { x: side, y: side, role: "posterior", smooth: true },
    );
    const [m0 = 0, m1 = 0, v0 = 0, v1 = 0] = chosen.q;
    plot.ellipse([m0, m1], [Math.exp(v0 / 2), 0], [0, Math.exp(v1 / 2)], "q", { width: 3 });
    plot.points(column(chosen.z, 2, 0), column(chosen.z, 2, 1), "q", { size: 6 });
  } else plot.pixels([0], 1, { role: "posterior", smooth: true });
  if (top) for (const r of [1, 2]) plot.ellipse([0, 0], [r, 0], [0, r], "prior", { dash: "5 3" });
  else plot.points(column(prior, 2, 0), column(prior, 2, 1), "prior", { size: 3, opacity: 0.5 });
  const z = chosen ? [] : (view?.z[level] ?? []);
  plot.points(column(z, 2, 0), column(z, 2, 1), "posterior", { size: 3.5, opacity: 0.6 });
  // Beside the posterior of one point those of the others would be in the way.
  for (let n = 0; n < (chosen ? 0 : Math.min(SINGLE, q.length / 4)); n++) {
    const [m0 = 0, m1 = 0, v0 = 0, v1 = 0] = q.slice(4 * n, 4 * n + 4);
    plot.ellipse([m0, m1], [Math.exp(v0 / 2), 0], [0, Math.exp(v1 / 2)], "q", {
      width: 1.2,
      opacity: 0.7,
      fill: 0.03,
    });
  }
  return key(
    plot,
    chosen
      ? [
          [chosen.mine ? "your q" : "q(z | x)", "q"],
          ["true posterior", "posterior"],
          ["prior", "prior"],
        ]
      : [
          ["q of some data", "q"],
          ["draws of all", "posterior"],
          ["prior", "prior"],
        ],
  );
}

/**
 * A range for numbers with room around them.
 *
 * @param {number[]} values
 * @param {number} least  how long it is at least
 * @returns {Range}
 */
function around(values, least) {
  const finite = values.filter(Number.isFinite);
  if (!finite.length) return [-5, 0];
  const high = Math.max(...finite);
  const low = Math.min(high - least, ...finite);
  const room = 0.08 * (high - low);
  return [low - room, high + 2 * room];
}

/** @param {Integrated | undefined} one */
const known = (one) => one !== undefined && one.logMarginal !== null;

/** @param {Seen} seen */
function overTime({ integrated, bounds, phases }) {
  const last = integrated[integrated.length - 1];
  const end = last?.step ?? 0;
  // One who trains the nets by turns wants to see every turn; else the leap of the start would leave
  // no room for what follows.
  const turns = phases.length > 1;
  const found = integrated.flatMap(({ step, elbo, logMarginal }) =>
    turns || step >= 0.1 * end ? [elbo, logMarginal ?? elbo] : [],
  );
  const right = Math.max(200, end);
  const plot = new Plot({
    x: [0, right * 1.36],
    y: around(found, 0.4),
    width: 360,
    height: 230,
    title: "nats for each point, over steps",
    ticks: [4, 5],
    alt: "ELBO and log p(x) over the steps of training; between them lies the gap.",
  });
  phases.forEach(({ step, train }, i) => {
    const to = phases[i + 1]?.step ?? end;
    if (!turns || to <= step) return;
    const role = train === "encoder" ? "q" : train === "decoder" ? "model" : "prior";
    plot.box([step, to], [plot.y[0], plot.y[1]], role, { opacity: 0.13 });
    if (to - step > 0.16 * right) plot.text(step, plot.y[0], train, { role, dx: 3, dy: -5 });
  });
  // The gap, wherever it is known: between the curves, from one run without a break to the next.
  for (let from = 0; from < integrated.length; from++) {
    if (!known(integrated[from])) continue;
    let to = from;
    while (known(integrated[to])) to++;
    const run = integrated.slice(from, to);
    const back = [...run].reverse();
    plot.area(
      [...run, ...back].map(({ step }) => step),
      [...run.map(({ elbo }) => elbo), ...back.map(({ logMarginal }) => logMarginal ?? 0)],
      "gap",
      { opacity: 0.45, base: run[0]?.elbo ?? 0 },
    );
    from = to;
  }
  const steps = integrated.map(({ step }) => step);
  const [lower, upper] = [
    integrated.map(({ elbo }) => elbo),
    integrated.map(({ logMarginal }) => logMarginal ?? NaN),
  ];
  plot.line(steps, lower, "elbo", { width: 2.5 }).line(steps, upper, "ink", { width: 2 });
  // Of a few measurements it is said where they were made.
  if (steps.length < 30) plot.points(steps, lower, "elbo").points(steps, upper, "ink");
  if (!last) return plot;
  const { step, elbo, logMarginal } = last;
  // The height of a line of words, in nats.
  const line = (15 * (plot.y[1] - plot.y[0])) / (plot.bottom - plot.top);
  const wanted =
    logMarginal === null ? [elbo + line, elbo] : [logMarginal, (logMarginal + elbo) / 2, elbo];
  const at = spaced(wanted, line, plot.y[0] + line / 2);
  const beside = { dx: 6, dy: 4 };
  if (logMarginal === null) plot.text(step, at[0] ?? 0, "log p(x)?", beside);
  else {
    plot
      .text(step, at[0] ?? 0, `log p(x) ${shown(logMarginal)}`, beside)
      .text(step, at[1] ?? 0, `gap ${shown(bounds?.gap ?? NaN, 3)}`, {
        ...beside,
        role: "gap",
        bold: true,
      });
  }
  return plot.text(step, at[at.length - 1] ?? 0, `ELBO ${shown(elbo)}`, {
    ...beside,
    role: "elbo",
    bold: true,
  });
}

/**
 * The bar: of the point at hand, or the mean of the held-out points.
 *
 * @param {Seen} seen
 */
function bar({ view, bounds, integrated, chosen, options }) {
  const { elbo = NaN, logMarginal = null } = chosen ?? bounds ?? {};
  const top = Math.max(logMarginal ?? elbo, elbo);
  const first = integrated[0]?.elbo ?? -5;
  const floor = Math.floor(Math.min(first, elbo)) - 1;
  const high = Number.isFinite(top) ? Math.max(Math.ceil(top) + 0.4, floor + 2) : 0;
  const plot = new Plot({
    x: [0, 3],
    y: [Number.isFinite(floor) ? floor : -6, high],
    width: 200,
    height: 310,
    ticks: [0, 6],
    title: chosen ? "the bound at this x" : "the bound, in nats",
    alt: "A bar of the ELBO and, on top of it, the gap: together log p(x).",
  });
  if (!bounds) return plot;
  const line = (16 * (plot.y[1] - plot.y[0])) / (plot.bottom - plot.top);
  const gap = logMarginal === null ? null : logMarginal - elbo;
  const at = spaced([top + line / 2, top - line / 2, (elbo + floor) / 2], line, floor + 2 * line);
  plot
    .box([0.3, 1.2], [floor, elbo], "elbo")
    .text(1.35, at[2] ?? 0, "ELBO", { role: "elbo", bold: true, dy: 4 })
    .text(1.35, at[2] ?? 0, shown(elbo), { role: "elbo", dy: 20 });
  if (gap === null || logMarginal === null) plot.text(1.35, at[0] ?? 0, "log p(x)?", { dy: 4 });
  else {
    plot
      .box([0.3, 1.2], [elbo, logMarginal], "gap")
      .rule({ y: logMarginal }, "ink", { dash: "5 4" })
      .text(1.35, at[0] ?? 0, `log p(x) ${shown(logMarginal)}`, { dy: 3 })
      .text(1.35, at[1] ?? 0, `gap ${shown(gap, 3)}`, { role: "gap", bold: true, dy: 5 });
  }
  if (!chosen && bounds.kSample !== null) {
    const low = spaced([(at[1] ?? 0) - line, bounds.kSample], line, floor)[1] ?? 0;
    plot
      .line([0.15, 1.35], [bounds.kSample, bounds.kSample], "posterior", { width: 3 })
      .text(1.4, low, `K = ${options.draws}: ${shown(bounds.kSample)}`, {
        role: "posterior",
        bold: true,
        dy: 4,
      });
  }
  const old = !chosen && view && view.step > bounds.step;
  return old
    ? plot.text(0.3, floor, `as of step ${bounds.step.toLocaleString("en")}`, { dy: 17 })
    : plot;
}

/** @param {Seen} seen */
function ratesOverTime({ watched, options }) {
  const last = watched[watched.length - 1];
  const all = watched.flatMap(({ rates }) => rates);
  const plot = new Plot({
    x: [0, Math.max(200, last?.step ?? 0) * 1.25],
    y: [Math.min(0, ...all.slice(-600)), Math.max(0.5, ...all.slice(all.length / 5)) * 1.15],
    width: 260,
    height: 230,
    title: "rate, in nats",
    ticks: [4, 4],
    alt: "The rate of each level over the steps of training.",
  });
  const steps = watched.map(({ step }) => step);
  const roles = /** @type {const} */ (["q", "posterior", "model"]);
  const now = last?.rates ?? [];
  const line = (15 * (plot.y[1] - plot.y[0])) / (plot.bottom - plot.top);
  const order = now.map((_, l) => l).sort((a, b) => (now[b] ?? 0) - (now[a] ?? 0));
  const heights = spaced(
    order.map((l) => now[l] ?? 0),
    line,
    plot.y[0] + line / 2,
  );
  for (let l = 0; l < options.levels; l++) {
    const role = roles[l] ?? "ink";
    plot.line(
      steps,
      watched.map(({ rates }) => rates[l] ?? NaN),
      role,
    );
    const rate = last?.rates[l];
    if (last && rate !== undefined) {
      const name = options.levels === 1 ? "" : `z${"₁₂₃"[l]} `;
      const height = heights[order.indexOf(l)] ?? 0;
      plot.text(last.step, height, `${name}${shown(rate)}`, { role, dx: 5, dy: 4, bold: true });
    }
  }
  return plot;
}

/** @param {Seen} seen */
function trail({ watched, kept, settled }) {
  const end = watched[watched.length - 1]?.step ?? 0;
  const late = watched.filter(({ step }) => step >= 0.05 * end);
  const rates = late.map(({ rates: each }) => sum(each));
  const distortions = late.map(({ distortion }) => distortion);
  const [rate = 0, distortion = 0] = [rates[rates.length - 1], distortions[distortions.length - 1]];
  const before = kept ? sum(kept.view.rates) : 0;
  const marked = [
    distortion,
    ...settled.map((one) => one.distortion),
    ...(kept ? [kept.view.distortion] : []),
  ];
  // Low is good here: of the way only what is near the points that count.
  const most = Math.max(...marked, Math.min(...distortions) + 4);
  const right = Math.max(1, ...rates, before, ...settled.map((one) => one.rate)) * 1.2;
  const plot = new Plot({
    x: [0, right],
    y: around([...marked, ...distortions.filter((one) => one <= most)], 1),
    width: 260,
    height: 230,
    ticks: [5, 5],
    title: "distortion, over the rate",
    alt: "The way through the plane of rate and distortion; on the dashed line the ELBO is the same.",
  });
  plot
    .line([0, right], [distortion + rate, distortion + rate - right], "elbo", {
      dash: "5 3",
      width: 1.5,
    })
    .line(rates, distortions, "ink", { width: 1.5, opacity: 0.5 });
  for (const { rate: x, distortion: y, beta } of settled) {
    plot.points([x], [y], "ink", { size: 7 }).text(x, y, `β ${shown(beta)}`, { dx: 6, dy: -5 });
  }
  plot.points([rate], [distortion], "gap", { size: 9 });
  if (kept) {
    plot
      .points([before], [kept.view.distortion], "posterior", { size: 9 })
      .text(before, kept.view.distortion, "kept", { role: "posterior", dx: 7, dy: 4 });
  }
  // Where the line leaves the panel.
  const across = Math.min(right, distortion + rate - plot.y[0]);
  return plot.text(across, distortion + rate - across, "same ELBO", {
    role: "elbo",
    anchor: "end",
    dx: -4,
    dy: -8,
  });
}

/**
 * All panels, in the order of the page.
 *
 * @param {Seen} seen
 */
export function panels(seen) {
  return [dataPlane, codes, bar, overTime, ratesOverTime, trail].map((draw) => draw(seen));
}

/**
 * The numbers of the moment, in words: all of one step, so that they fit together.
 *
 * @param {Seen} seen
 */
export function numbers({ view, bounds, chosen, options }) {
  if (!view) {
    const draws = options.data === "drawn" && options.clicks.length < 4;
    return draws ? "Draw some points in the plane of x first." : "Nothing has been computed yet.";
  }
  const parts = [`step ${view.step.toLocaleString("en")}`];
  if (chosen) parts.push(`at this x: ${identity(chosen)}`);
  else if (bounds && bounds.step === view.step) parts.push(...measured(bounds));
  else if (bounds)
    parts.push(`of step ${bounds.step.toLocaleString("en")}: ${measured(bounds)[0]}`);
  parts.push(`σ ${shown(view.sigma, 3)}`);
  if (options.bound === "elbo" && (options.beta !== 1 || options.warmUp))
    parts.push(`β ${view.betas.map((beta) => shown(beta)).join(", ")}`);
  return parts.join(" · ");
}

/**
 * log p(x) = ELBO + gap, with digits that add up as they are shown.
 *
 * @param {{elbo: number, logMarginal: number | null}} of
 */
function identity({ elbo, logMarginal }) {
  const rounded = (/** @type {number} */ value) => Math.round(1000 * value) / 1000;
  const low = rounded(elbo);
  if (logMarginal === null) return `ELBO ${shown(low, 3)}, log p(x)?`;
  const gap = rounded(logMarginal) - low;
  return `log p(x) ${shown(low + gap, 3)} = ELBO ${shown(low, 3)} + gap ${shown(gap, 3)}`;
}

/**
 * What the integrals found.
 *
 * @param {Bounds} bounds
 */
function measured(bounds) {
  return [
    identity(bounds),
    `distortion ${shown(bounds.distortion)}`,
    `rate ${bounds.rates.map((rate) => shown(rate)).join(" + ")}`,
  ];
}
