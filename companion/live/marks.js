/** What several figures draw alike: names above a panel, and a bar that says where it is cut. */

import { density } from "./gaussian.js";
import { clamp } from "./numbers.js";
import { escaped, paint } from "./plot.js";

/**
 * @typedef {import("./plot.js").Plot} Plot
 * @typedef {import("./plot.js").Role} Role
 */

/**
 * Names of curves, in a row where a title would stand: no curve and no handle comes there.
 *
 * @param {Plot} plot  with a title of one blank
 * @param {[string, Role][]} names
 */
export function named(plot, names) {
  const spans = names.map(
    ([words, role], i) =>
      `<tspan${i ? ' dx="14"' : ""} fill="${paint(role)}">${escaped(words)}</tspan>`,
  );
  plot.above.push(
    `<text x="${plot.left}" y="13" font-weight="600" style="white-space:pre">${spans.join("")}</text>`,
  );
  return plot;
}

/**
 * The prior, q and the posterior over z, with their names; a posterior that q covers is dashed, so
 * that both are seen.
 *
 * @param {Plot} plot  with a title of one blank
 * @param {(z: number) => number} q
 * @param {(z: number) => number} posterior
 * @param {boolean} covered
 */
export function overLatent(plot, q, posterior, covered) {
  plot
    .curve(density(0, 1), "prior", { width: 1.5 })
    .curve(q, "q", { width: 2.5, fill: 0.25 })
    .curve(posterior, "posterior", { width: 2.5, dash: covered ? "7 7" : "" });
  return named(plot, [
    ["prior p(z)", "prior"],
    ["posterior p(z | x)", "posterior"],
    ["q(z | x)", "q"],
  ]);
}

/**
 * A bar of parts, from the bottom up; where the axis cuts it, it is broken.
 *
 * @param {Plot} plot
 * @param {[number, number]} sides
 * @param {[number, Role][]} parts  where each ends, in order
 * @param {{from?: number, opacity?: number}} [look]  from: where the first one begins
 */
export function stacked(plot, sides, parts, { from = plot.y[0], opacity = 1 } = {}) {
  const [low, high] = plot.y;
  const kept = (/** @type {number} */ y) => clamp(y, [low, high]);
  let base = from;
  for (const [end, role] of parts) {
    if (kept(end) > kept(base)) plot.box(sides, [kept(base), kept(end)], role, { opacity });
    base = end;
  }
  const cut = base > high ? high : Math.min(from, parts[0]?.[0] ?? from) < low ? low : NaN;
  if (Number.isNaN(cut)) return plot;
  const [left, right] = [plot.across(sides[0]) - 3, plot.across(sides[1]) + 3];
  const y = plot.down(cut) + (cut === high ? 16 : -16);
  plot.inside.push(
    `<path fill="none" stroke="var(--fig-ground,Canvas)" stroke-width="4" ` +
      `d="M${left} ${y + 5}L${right} ${y - 5}M${left} ${y + 13}L${right} ${y + 3}"/>`,
  );
  return plot;
}
