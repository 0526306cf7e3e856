/** What a model that learns looks like: data and samples, codes, the bound over time, the trail. */

import { Plot, shown } from "../plot.js";

/**
 * @typedef {import("./training.js").View} View
 * @typedef {import("./training.js").Bounds} Bounds
 * @typedef {import("./training.js").Options} Options
 * @typedef {import("../plot.js").Range} Range
 *
 * @typedef {{view: View, bounds: Bounds, data: string}} Kept  a model to compare with
 * @typedef {{step: number, elbo: number, logMarginal: number | null}} Integrated
 * @typedef {{step: number, rates: number[], distortion: number}} Watched
 * @typedef {{
 *   options: Options, view: View | null, bounds: Bounds | null, level: number,
 *   chosen: import("./training.js").Chosen,
 *   integrated: Integrated[], watched: Watched[], kept: Kept | null,
 * }} Seen  all that the views show; `level` counts from 0
 */

/** How far the plane of the data, and that of the codes, reach. */
const REACH = 3.2;
/** How many of the posteriors are drawn one by one. */
const SINGLE = 50;

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

/** @param {Seen} seen */
function dataPlane({ options, view, chosen }) {
  const plot = new Plot({
    x: [-REACH, REACH],
    y: [-REACH, REACH],
    width: 330,
    height: 310,
    equal: true,
    ticks: [0, 0],
    title: options.data === "drawn" ? "x: draw here" : "x: data, samples, manifold",
    alt: "The plane of x: data points, samples from the model, and the decoder's image of the codes.",
  });
  if (options.data === "drawn") {
    plot.points(column(options.clicks, 2, 0), column(options.clicks, 2, 1), "gap", {
      size: 4,
      opacity: 0.5,
    });
  }
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
    const asked = options.levels === 1 && options.data !== "drawn" ? "drag me to a point x" : "";
    return plot.text(2.7, -2.7, asked, { dx: -14, dy: 4, anchor: "end", role: "gap" });
  }
  // What of the data the model makes nothing of: the gap at this x.
  const {
    elbo,
    logMarginal,
    x: [at0 = 0, at1 = 0],
  } = chosen;
  const gap = logMarginal === null ? "log p(x)?" : `gap here ${shown(logMarginal - elbo, 3)}`;
  return plot.text(at0, at1, gap, {
    dx: at0 > 1 ? -12 : 12,
    dy: -8,
    anchor: at0 > 1 ? "end" : "start",
    role: "gap",
    bold: true,
  });
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
    return sum / count / Math.sqrt(2 * Math.PI);
  });
}

/** @param {Seen} seen */
function codes({ options, view, level, chosen }) {
  const { levels, units } = options;
  const name = levels === 1 ? "z" : `z${"₁₂₃"[level]}`;
  const title = `${name}: posteriors, their average, prior`;
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
    return plot
      .area(axis, average, "posterior")
      .line(axis, average, "posterior")
      .line(axis, ahead, "prior", { dash: "5 3" });
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
  } else plot.pixels([0], 1, { role: "posterior", smooth: true });
  if (top) for (const r of [1, 2]) plot.ellipse([0, 0], [r, 0], [0, r], "prior", { dash: "5 3" });
  else plot.points(column(prior, 2, 0), column(prior, 2, 1), "prior", { size: 3, opacity: 0.5 });
  const z = view?.z[level] ?? [];
  plot.points(column(z, 2, 0), column(z, 2, 1), "posterior", { size: 3.5, opacity: 0.6 });
  // Beside the posterior of one point those of the others would be in the way.
  for (let n = 0; n < (chosen ? 0 : Math.min(SINGLE, q.length / 4)); n++) {
    const [m0 = 0, m1 = 0, v0 = 0, v1 = 0] = q.slice(4 * n, 4 * n + 4);
    plot.ellipse([m0, m1], [Math.exp(v0 / 2), 0], [0, Math.exp(v1 / 2)], "q", {
      width: 1.2,
      fill: 0.08,
    });
  }
  return plot;
}

/**
 * A range for numbers of nats.
 *
 * @param {number[]} values
 * @param {number} least  how long it is at least
 * @returns {Range}
 */
function around(values, least) {
  const late = values.filter(Number.isFinite);
  if (!late.length) return [-5, 0];
  const high = Math.max(...late);
  const low = Math.min(high - least, Math.max(Math.min(...late), high - 6));
  const room = 0.08 * (high - low);
  return [low - room, high + 2 * room];
}

/** @param {Integrated | undefined} one */
const known = (one) => one !== undefined && one.logMarginal !== null;

/** @param {Seen} seen */
function overTime({ integrated, bounds }) {
  const last = integrated[integrated.length - 1];
  const end = last?.step ?? 0;
  const found = integrated.flatMap(({ step, elbo, logMarginal }) =>
    step > 0.1 * end ? [elbo, logMarginal ?? elbo] : [],
  );
  const plot = new Plot({
    x: [0, Math.max(200, end) * 1.28],
    y: around(found, 0.4),
    width: 360,
    height: 230,
    title: "nats for each point, over steps",
    ticks: [4, 5],
    alt: "ELBO and log p(x) over the steps of training; between them lies the gap.",
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
  plot.line(
    steps,
    integrated.map(({ elbo }) => elbo),
    "elbo",
    { width: 2.5 },
  );
  plot.line(
    steps,
    integrated.map(({ logMarginal }) => logMarginal ?? NaN),
    "ink",
    { width: 2 },
  );
  if (!last) return plot;
  const { step, elbo, logMarginal } = last;
  plot.text(step, elbo, `ELBO ${shown(elbo)}`, {
    role: "elbo",
    dx: 6,
    dy: logMarginal === null ? 4 : 14,
    bold: true,
  });
  if (logMarginal === null) return plot.text(step, elbo, "log p(x)?", { dx: 6, dy: -12 });
  plot.text(step, logMarginal, `log p(x) ${shown(logMarginal)}`, { dx: 6, dy: -8 });
  return plot.text(step, (elbo + logMarginal) / 2, `gap ${shown(bounds?.gap ?? NaN, 3)}`, {
    role: "gap",
    dx: 6,
    dy: 3,
    bold: true,
  });
}

/** @param {Seen} seen */
function bar({ bounds, integrated }) {
  const { elbo = NaN, logMarginal = null } = bounds ?? {};
  const top = logMarginal ?? elbo;
  const first = integrated[Math.min(1, integrated.length - 1)]?.elbo ?? -5;
  const floor = Math.min(Math.floor(first) - 1, Math.floor(elbo) - 1);
  const high = Number.isFinite(top) ? Math.max(Math.ceil(top) + 0.4, floor + 2) : 0;
  const plot = new Plot({
    x: [0, 3],
    y: [Number.isFinite(floor) ? floor : -6, high],
    width: 200,
    height: 310,
    ticks: [0, 6],
    title: "the bound, in nats",
    alt: "A bar of the ELBO and, on top of it, the gap: together log p(x).",
  });
  if (!bounds) return plot;
  plot
    .box([0.3, 1.2], [floor, elbo], "elbo")
    .text(1.35, (elbo + floor) / 2, "ELBO", { role: "elbo", bold: true })
    .text(1.35, (elbo + floor) / 2, shown(elbo), { role: "elbo", dy: 16 });
  if (logMarginal === null) return plot.text(1.35, elbo, "log p(x)?", { dy: -4 });
  return plot
    .box([0.3, 1.2], [elbo, logMarginal], "gap")
    .rule({ y: logMarginal }, "ink", { dash: "5 4" })
    .text(1.35, logMarginal, `log p(x) ${shown(logMarginal)}`, { dy: -7 })
    .text(1.35, logMarginal, `gap ${shown(bounds.gap ?? NaN, 3)}`, {
      role: "gap",
      dy: 16,
      bold: true,
    });
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
      plot.text(last.step, rate, `${name}${shown(rate)}`, { role, dx: 5, dy: 4, bold: true });
    }
  }
  return plot;
}

/** @param {Seen} seen */
function trail({ watched, kept }) {
  const end = watched[watched.length - 1]?.step ?? 0;
  const late = watched.filter(({ step }) => step >= 0.05 * end);
  const rates = late.map(({ rates: each }) => each.reduce((sum, rate) => sum + rate, 0));
  const distortions = late.map(({ distortion }) => distortion);
  const [rate = 0, distortion = 0] = [rates[rates.length - 1], distortions[distortions.length - 1]];
  const before = kept?.view.rates.reduce((sum, each) => sum + each, 0) ?? 0;
  const right = Math.max(1, ...rates, before) * 1.15;
  const y = around([...distortions, ...(kept ? [kept.view.distortion] : [])], 1);
  const plot = new Plot({
    x: [0, right],
    y,
    width: 260,
    height: 230,
    ticks: [5, 5],
    title: "distortion, over the rate",
    alt: "The way through the plane of rate and distortion; on the dashed line the ELBO is the same.",
  });
  plot.line([0, right], [distortion + rate, distortion + rate - right], "elbo", {
    dash: "5 3",
    width: 1.5,
  });
  plot
    .line(rates, distortions, "ink", { width: 1.5, opacity: 0.7 })
    .points([rate], [distortion], "gap", { size: 9 });
  if (kept) {
    plot
      .points([before], [kept.view.distortion], "posterior", { size: 9 })
      .text(before, kept.view.distortion, "kept", { role: "posterior", dx: 7, dy: 4 });
  }
  return plot.text(right, distortion + rate - right, "same ELBO", {
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
 * The numbers of the moment, in words.
 *
 * @param {Seen} seen
 */
export function numbers({ view, bounds, options }) {
  if (!view) return "Nothing has been computed yet.";
  const parts = [
    `step ${view.step.toLocaleString("en")}`,
    `ELBO ${shown(view.elbo)}`,
    `distortion ${shown(view.distortion)}`,
    `rate ${view.rates.map((rate) => shown(rate)).join(" + ")}`,
    `σ ${shown(view.sigma, 3)}`,
  ];
  if (bounds && bounds.logMarginal !== null) {
    parts.push(`log p(x) ${shown(bounds.logMarginal)}`, `gap ${shown(bounds.gap ?? NaN, 3)}`);
  }
  if (options.beta !== 1 || options.warmUp)
    parts.push(`β ${view.betas.map((beta) => shown(beta)).join(", ")}`);
  return parts.join(" · ");
}
