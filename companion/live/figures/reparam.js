/**
 * Frozen noise: draws z = μ + σ ε of q that move with μ and σ, each as far as its ε says, and what
 * each says of the gradient of E f(z), by its own slope or by the score function.
 *
 * f(z) = log N(x; g(z), s²) with g(z) = z + 0.6 sin 2z: a decoder that bends.
 */

import { figure } from "../figure.js";
import { density, logNormal } from "../gaussian.js";
import { gaussianHandles } from "../handles.js";
import { clamp, linspace, mean, sum } from "../numbers.js";
import { Plot, shown } from "../plot.js";

const DRAWS = 12;
/** Of a gradient. */
const SHOWN = /** @type {const} */ ([-7.8, 7.8]);
const bent = (/** @type {number} */ z) => z + 0.6 * Math.sin(2 * z);
const score = (/** @type {any} */ { x, scale }, /** @type {number} */ z) =>
  logNormal(x, bent(z), scale);
const slope = (/** @type {any} */ { x, scale }, /** @type {number} */ z) =>
  ((x - bent(z)) * (1 + 1.2 * Math.cos(2 * z))) / scale ** 2;

// ε on a grid, and its weights: exact for all that is seen here.
const grid = linspace(-8, 8, 161);
const weights = grid.map((e) => density(0, 1)(e) / 10);
const expected = (/** @type {(e: number) => number} */ value) =>
  sum(grid.map((e, i) => (weights[i] ?? 0) * value(e)));

/** Of noise and draws. */
const REACH = 4.5;
// Where things stand in the left panel: noise below, draws above it, then q, then f.
const NOISE = 0.5;
const DRAWN = 3.3;
const q = (/** @type {number} */ z, /** @type {any} */ { mean: m, spread }) =>
  DRAWN + 1.6 * density(m, spread)(z);
const height = (/** @type {number} */ f) => 11.2 + 0.45 * f;

/**
 * One row of the right panel: what each draw says, their mean, and the truth.
 *
 * @param {Plot} plot
 * @param {number} y
 * @param {string} words
 * @param {number[]} values
 * @param {number} exact
 */
function row(plot, y, words, values, exact) {
  plot.text(-7.8, y + 0.42, words);
  plot.text(7.8, y + 0.42, `${shown(mean(values))}, exact ${shown(exact)}`, { anchor: "end" });
  plot.line([-7.8, 7.8], [y, y], "ink", { width: 1, opacity: 0.35 });
  const seen = values.filter((value) => Math.abs(value) <= SHOWN[1]);
  plot.points(
    seen,
    seen.map(() => y),
    "q",
    { size: 7, opacity: 0.55 },
  );
  // What lies outside is there, and has no place.
  if (values.some((value) => value < SHOWN[0])) plot.text(SHOWN[0], y, "◂", { role: "q", dy: 5 });
  if (values.some((value) => value > SHOWN[1]))
    plot.text(SHOWN[1], y, "▸", { role: "q", anchor: "end", dy: 5 });
  const centre = clamp(mean(values), SHOWN);
  plot.line([centre, centre], [y - 0.2, y + 0.2], "q", { width: 4 });
  plot.line([exact, exact], [y - 0.3, y + 0.3], "ink", { width: 2, dash: "3 2" });
}

/**
 * What a move sets, and where the draws were before this kind of move began.
 *
 * @param {any} state
 * @param {{mean?: number, spread?: number}} change
 */
function moved({ mean: m, spread, from, kind }, change) {
  const now = "mean" in change ? 1 : 2;
  return { ...change, kind: now, from: now === kind ? from : [m, spread] };
}

export default figure({
  // kind: of the last move, of the mean or of the scale; from: where q was when that began.
  start: { mean: -0.9, spread: 0.6, noise: 0, both: false, kind: 0, from: [-0.9, 0.6] },
  limits: {
    mean: [-1.6, 1.6],
    spread: [0.2, 1],
    noise: [0, 1e4],
    kind: [0, 2],
    from: [-1.6, 1.6],
  },

  compute({ mean: m, spread: s, noise, from: [m0, s0] }, data) {
    const first = (noise % (data.noise.length / DRAWS)) * DRAWS;
    const eps = Array.from({ length: DRAWS }, (_, i) => data.noise[first + i] ?? 0);
    const z = eps.map((e) => m + s * e);
    const before = eps.map((e) => m0 + s0 * e);
    const way = z.map((one, i) => one - (before[i] ?? 0));
    const farthest = way.reduce(
      (most, one, i) => (Math.abs(one) > Math.abs(way[most] ?? 0) ? i : most),
      0,
    );
    const slopes = z.map((one) => slope(data, one));
    const heights = z.map((one) => score(data, one));
    return {
      eps,
      z,
      before,
      farthest: { eps: eps[farthest] ?? 0, way: way[farthest] ?? 0 },
      slopes,
      heights,
      pathwise: { mean: slopes, spread: slopes.map((f, i) => f * (eps[i] ?? 0)) },
      // ∇ log q is ε / σ in μ, and (ε² − 1) / σ in σ.
      scored: {
        mean: heights.map((f, i) => (f * (eps[i] ?? 0)) / s),
        spread: heights.map((f, i) => (f * ((eps[i] ?? 0) ** 2 - 1)) / s),
      },
      exact: {
        mean: expected((e) => slope(data, m + s * e)),
        spread: expected((e) => slope(data, m + s * e) * e),
      },
    };
  },

  draw(state, { eps, z, before, slopes, heights, pathwise, scored, exact }, data) {
    const left = new Plot({
      x: [-REACH, REACH],
      y: [0, 11.2],
      width: 380,
      height: 320,
      xlabel: "ε, z",
      ticks: [6, 0],
      alt:
        "Twelve values of noise on a line, each joined to the draw that it becomes, with the way that " +
        "the draw went; above them the density of q, and the curve f with its slope at each draw.",
    });
    const fan = [NOISE, DRAWN, DRAWN, NOISE];
    for (const [i, e] of eps.entries()) {
      left
        .area([e, before[i], z[i], e], fan, "q", { opacity: 0.3, base: NOISE })
        .line([e, z[i]], [NOISE, DRAWN], "prior", { width: 1, opacity: 0.7 });
    }
    left
      .points(
        eps,
        eps.map(() => NOISE),
        "prior",
        { size: 7 },
      )
      .points(
        z,
        z.map(() => DRAWN),
        "q",
        { size: 7 },
      )
      .curve((one) => q(one, state), "q", { fill: 0.2, base: DRAWN })
      .curve((one) => height(score(data, one)), "model");
    // Along the tangent, all of one length.
    const unit = (left.down(height(0)) - left.down(height(1))) / (left.across(1) - left.across(0));
    for (const [i, one] of z.entries()) {
      const run = 0.3 / Math.hypot(1, unit * slopes[i]);
      left.line(
        [one - run, one + run],
        [height(heights[i] - run * slopes[i]), height(heights[i] + run * slopes[i])],
        "elbo",
        { width: 3.5 },
      );
    }
    left
      .points(z, heights.map(height), "q", { size: 7 })
      .text(-REACH, NOISE, "ε, frozen", { role: "prior", dx: 4, dy: -10 })
      .text(-REACH, DRAWN, "z = μ + σε", { role: "q", dx: 4, dy: -10 })
      .text(REACH, 7.2, "f(z) = log p(x | z)", { role: "model", anchor: "end" });

    const right = new Plot({
      x: [-8, 8],
      y: [-0.1, state.both ? 4.5 : 2.4],
      width: 280,
      height: 320,
      xlabel: "gradient",
      ticks: [5, 0],
      alt: "What each draw says of the gradients in the mean and in the standard deviation of q.",
    });
    const rows = /** @type {[string, number[], number][]} */ ([
      ["∂/∂μ: slopes f′(z)", pathwise.mean, exact.mean],
      ["∂/∂σ: f′(z) ε", pathwise.spread, exact.spread],
      ["∂/∂μ: f(z) ε / σ", scored.mean, exact.mean],
      ["∂/∂σ: f(z) (ε² − 1) / σ", scored.spread, exact.spread],
    ]).slice(0, state.both ? 4 : 2);
    for (const [i, [words, values, truth]] of rows.entries())
      row(right, 3.5 - 1.1 * i - (state.both ? 0 : 2.1), words, values, truth);
    return [left, right];
  },

  says({ mean: m, spread, kind }, { pathwise, exact, farthest: { eps, way } }) {
    const q = `q = N(${shown(m)}, ${shown(spread)}²)`;
    if (Math.abs(way) < 0.005)
      return `${q}: the mean slope at twelve draws is ${shown(mean(pathwise.mean))}, over all draws, ${shown(exact.mean)}`;
    const side = way < 0 ? "left" : "right";
    if (kind === 1) return `${q}: every draw went to the ${side}, by ${shown(Math.abs(way))}`;
    return `${q}: the draw with ε = ${shown(eps)} went farthest, to the ${side} by ${shown(Math.abs(way))}`;
  },

  handles: gaussianHandles("q", { scale: "spread", height: q }).map((handle) => ({
    ...handle,
    move: (/** @type {any} */ state, /** @type {[number, number]} */ to) =>
      moved(state, handle.move(state, to, null)),
  })),

  controls: [
    {
      kind: "button",
      label: "New noise",
      press: ({ noise, mean: m, spread }) => ({ noise: noise + 1, kind: 0, from: [m, spread] }),
    },
    { kind: "toggle", name: "both", label: "Add the score function’s estimates (A closer look)" },
  ],
});
