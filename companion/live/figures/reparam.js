/**
 * Frozen noise: draws z = μ + σ ε of q that move with μ and σ, and what each says of the gradient of
 * E f(z), by its own slope or by the score function.
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

// Where things stand in the left panel: noise below, draws above it, then q, then f.
const NOISE = 0.5;
const DRAWN = 2.4;
const q = (/** @type {number} */ z, /** @type {any} */ { mean: m, spread }) =>
  DRAWN + 1.6 * density(m, spread)(z);
const height = (/** @type {number} */ f) => 11.2 + f;

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
  const level = values.map(() => y);
  plot.text(-7.8, y + 0.34, words);
  plot.line([-7.8, 7.8], [y, y], "ink", { width: 1, opacity: 0.35 });
  plot.line([exact, exact], [y - 0.22, y + 0.22], "ink", { width: 2, dash: "3 2" });
  plot.points(
    values.map((v) => clamp(v, SHOWN)),
    level,
    "q",
    { size: 7, opacity: 0.55 },
  );
  const centre = clamp(mean(values), SHOWN);
  plot.line([centre, centre], [y - 0.22, y + 0.22], "q", { width: 4 });
}

export default figure({
  start: { mean: -0.9, spread: 0.6, noise: 0, both: false },
  limits: { mean: [-2.4, 2.4], spread: [0.2, 1.2], noise: [0, 1e4] },

  compute({ mean: m, spread: s, noise }, data) {
    const from = (noise % (data.noise.length / DRAWS)) * DRAWS;
    const eps = Array.from({ length: DRAWS }, (_, i) => data.noise[from + i] ?? 0);
    const z = eps.map((e) => m + s * e);
    const slopes = z.map((one) => slope(data, one));
    const heights = z.map((one) => score(data, one));
    return {
      eps,
      z,
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

  draw(state, { eps, z, slopes, heights, pathwise, scored, exact }, data) {
    const left = new Plot({
      x: [-3.25, 3.25],
      y: [0, 10.6],
      width: 380,
      height: 320,
      xlabel: "ε, z",
      ticks: [6, 0],
      alt:
        "Twelve values of noise on a line, each joined to the draw that it becomes; above them the " +
        "density of q, and the curve f with the draws on it, each with an arrow as long as its slope.",
    });
    for (const [i, e] of eps.entries())
      left.line([e, z[i]], [NOISE, DRAWN], "prior", { width: 1, opacity: 0.7 });
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
    for (const [i, one] of z.entries()) {
      const at = height(heights[i]);
      left.arrow([one, at], [one + 0.22 * slopes[i], at], "elbo", { width: 2 });
    }
    left
      .points(z, heights.map(height), "q", { size: 7 })
      .text(-3.2, NOISE + 0.25, "ε, frozen", { role: "prior" })
      .text(-3.2, DRAWN + 0.25, "z = μ + σε", { role: "q" })
      .text(3.2, 6.6, "f(z) = log p(x | z)", { role: "model", anchor: "end" });

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
      ["∂/∂μ by the score function", scored.mean, exact.mean],
      ["∂/∂σ by the score function", scored.spread, exact.spread],
    ]).slice(0, state.both ? 4 : 2);
    for (const [i, [words, values, truth]] of rows.entries())
      row(right, 3.5 - 1.1 * i - (state.both ? 0 : 2.1), words, values, truth);
    return [left, right];
  },

  says: ({ mean: m, spread }, { pathwise, exact }) =>
    `q = N(${shown(m)}, ${shown(spread)}²); gradient of twelve draws (${shown(mean(pathwise.mean))}, ` +
    `${shown(mean(pathwise.spread))}), of all (${shown(exact.mean)}, ${shown(exact.spread)})`,

  handles: gaussianHandles("q", { scale: "spread", height: q }),

  controls: [
    { kind: "button", label: "New noise", press: ({ noise }) => ({ noise: noise + 1 }) },
    { kind: "toggle", name: "both", label: "The score function’s gradients, too" },
  ],
});
