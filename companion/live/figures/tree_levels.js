/**
 * What the levels of a hierarchy know: keep z_3, z_2 or z_1 of a data point, draw the rest again,
 * and see how much of the point stays.
 *
 * The tree has leaves in branches in clusters. What is kept is drawn from q(z | x), level by level
 * from the top down; what lies below comes from p, as when the model draws a point of its own.
 */

import { figure } from "../figure.js";
import { named } from "../marks.js";
import { forward } from "../net.js";
import { along, last } from "../numbers.js";
import { Plot, shown } from "../plot.js";
import { generator, normal } from "../random.js";

/** How many points are drawn; each needs ε for three levels and for x, two numbers each. */
const DRAWS = 150;
const EACH = 8;
const PLANE = /** @type {const} */ ({ x: [-3.2, 3.2], y: [-2.6, 3.25] });
/** Of the circle around a cluster, a branch and a leaf: three σ beyond its farthest leaf. */
const REACH = [1.3, 0.5, 0.18];
const DEPTHS = /** @type {const} */ (["cluster", "branch", "leaf"]);
/** Of draws that share nothing with x, its cluster, its branch, its leaf. */
const ROLES = /** @type {const} */ (["gap", "posterior", "other", "elbo"]);
const CHANCE = [1 / 3, 1 / 9, 1 / 27];
/** Heights of the circles z_1, z_2, z_3 and x in their panel. */
const ROWS = [120, 210, 300];
const BOTTOM = 30;

/**
 * @typedef {import("../net.js").Layer[]} Net
 * @typedef {[number, number]} Place
 * @typedef {{encoders: Net[], decoders: Net[], centres: Place[], points: [number[], number[]],
 *   noise: (seed: number) => Float64Array}} Ready  centres: of the leaves, in the order of their
 *   labels
 * @typedef {{draws: Place[], shared: number[], shares: number[], leaf: number,
 *   noise: Float64Array}} Values  shared: how many of cluster, branch and leaf a draw has in common
 *   with x; noise: what the draws were made of, for the tests
 */

/**
 * A draw of the Gaussian whose mean and log variance a network gives.
 *
 * @param {Net} net
 * @param {number[]} given
 * @param {Float64Array} eps
 * @returns {Place}
 */
function drawn(net, given, [e0 = 0, e1 = 0]) {
  const [m0 = 0, m1 = 0, v0 = 0, v1 = 0] = forward(net, given);
  return [m0 + Math.exp(v0 / 2) * e0, m1 + Math.exp(v1 / 2) * e1];
}

/**
 * One point that keeps what level `keep` knows of x; with 4, nothing.
 *
 * @param {Ready} model
 * @param {Place} x
 * @param {number} keep
 * @param {Float64Array} noise
 */
function redrawn({ encoders, decoders }, x, keep, noise) {
  const eps = (/** @type {number} */ level) => noise.subarray(2 * level, 2 * level + 2);
  /** @type {Place} */
  let z = [eps(3)[0] ?? 0, eps(3)[1] ?? 0];
  if (keep < 4) z = drawn(encoders[2] ?? [], x, eps(3));
  for (const level of [2, 1]) {
    z =
      level < keep
        ? drawn(decoders[level] ?? [], z, eps(level))
        : drawn(encoders[level - 1] ?? [], [...x, ...z], eps(level));
  }
  return drawn(decoders[0] ?? [], z, eps(0));
}

/**
 * The leaf that is nearest.
 *
 * @param {Place[]} centres
 * @param {Place} x
 */
function leafOf(centres, [x, y]) {
  const far = centres.map(([cx, cy]) => (x - cx) ** 2 + (y - cy) ** 2);
  return far.indexOf(Math.min(...far));
}

/**
 * How many of cluster, branch and leaf two leaves have in common.
 *
 * @param {number} one
 * @param {number} other
 */
function common(one, other) {
  const same = (/** @type {number} */ size) => Math.floor(one / size) === Math.floor(other / size);
  return same(1) ? 3 : same(3) ? 2 : same(9) ? 1 : 0;
}

/**
 * @param {Ready} model
 * @param {Place} x
 * @param {number} keep
 * @param {number} seed
 * @param {number} count
 * @returns {Values}
 */
function rain(model, x, keep, seed, count) {
  const noise = model.noise(seed);
  const leaf = leafOf(model.centres, x);
  const draws = Array.from({ length: count }, (_, n) =>
    redrawn(model, x, keep, noise.subarray(EACH * n, EACH * (n + 1))),
  );
  const shared = draws.map((one) => common(leaf, leafOf(model.centres, one)));
  const shares = [1, 2, 3].map((least) => shared.filter((one) => one >= least).length / count);
  return { draws, shared, shares, leaf, noise };
}

const percent = (/** @type {number} */ share) => `${shown(100 * share, 0)} %`;
/** Whether what is chosen would give the answer away. */
const hidden = (/** @type {any} */ { keep }, /** @type {boolean} */ guessing) =>
  guessing && (keep === "2" || keep === "1");

export default figure({
  start: { x: [0.04, 1.5], keep: "3", drawn: DRAWS, seed: 0 },
  limits: { x: [-3, 3], drawn: [0, DRAWS], seed: [0, 9999] },

  prepare({ encoders, decoders, centres, points }) {
    const both = [along(centres, 0), along(centres, 1)];
    const noise = last((/** @type {number} */ seed) =>
      Float64Array.from({ length: EACH * DRAWS }, normal(generator(seed))),
    );
    return {
      encoders,
      decoders,
      centres: Array.from({ length: centres.length / 2 }, (_, i) => both.map((one) => one[i])),
      points: [along(points, 0), along(points, 1)],
      noise,
    };
  },

  compute({ x, keep, drawn, seed }, data) {
    return rain(data, x, Number(keep), Math.round(seed), Math.round(drawn));
  },

  draw(state, values, data, { guessing }) {
    const secret = hidden(state, guessing);
    return [plane(state.x, values, data, secret), levels(state, values, secret)];
  },

  says({ keep, drawn }, /** @type {Values} */ { shares }, { guessing }) {
    const kept = { 4: "Nothing is kept", 3: "z₃ is kept", 2: "z₂ is kept", 1: "z₁ is kept" }[
      /** @type {"1"} */ (keep)
    ];
    if (hidden({ keep }, guessing)) return `${kept}: guess first, then press Compare.`;
    if (drawn < 1) return `${kept}.`;
    const [cluster = 0, branch = 0, leaf = 0] = shares;
    return (
      `${kept}: ${percent(cluster)} of ${Math.round(drawn)} draws stay in x’s cluster, ` +
      `${percent(branch)} in its branch, ${percent(leaf)} in its leaf.`
    );
  },

  handles: [
    {
      label: "The data point x",
      role: "ink",
      at: ({ x }) => x,
      move: (_, to) => ({ x: to }),
    },
  ],

  press: {
    panel: 1,
    label: "The levels, z₃ at the top: arrows move, Space keeps the level there",
    area: [
      [8, 64],
      [95, 325],
    ],
    move(_, [, y]) {
      const far = ROWS.map((row) => Math.abs(y - row));
      return { keep: String(far.indexOf(Math.min(...far)) + 1) };
    },
  },

  controls: [
    {
      kind: "choice",
      name: "keep",
      label: "Keep",
      options: [
        ["4", "nothing"],
        ["3", "z₃"],
        ["2", "z₂"],
        ["1", "z₁"],
      ],
    },
  ],

  play: {
    label: "Draw again",
    next: "Three more",
    step: ({ drawn }) => (drawn < DRAWS ? { drawn: drawn + 3 } : null),
    again: ({ seed }) => ({ drawn: 0, seed: (seed + 1) % 9999 }),
  },

  guess: {
    kind: "number",
    question:
      "The bars show what the draws share with x while z₃ is kept. Keep z₂ as well, and only z₁ and " +
      "x′ are drawn again: of 100 draws, how many will be in x’s branch?",
    label: "of 100 draws",
    min: 0,
    max: 100,
    start: 50,
    digits: 0,
    truth: ({ x, seed }, _, data) =>
      100 * (rain(data, x, 2, Math.round(seed), DRAWS).shares[1] ?? 0),
  },
});

/**
 * The plane of x: the data, x with the circles of its cluster, branch and leaf, and the draws.
 *
 * @param {Place} x
 * @param {Values} values
 * @param {Ready} data
 * @param {boolean} secret
 */
function plane(x, { draws, shared, leaf }, { centres, points }, secret) {
  const plot = new Plot({
    x: [...PLANE.x],
    y: [...PLANE.y],
    width: 350,
    height: 346,
    equal: true,
    xlabel: "x₁",
    ylabel: "x₂",
    ticks: [6, 5],
    title: " ",
    alt:
      "The plane of x: the tree’s points in grey, the data point x with circles around its " +
      "cluster, branch and leaf, and the draws, coloured by what they share with x.",
  });
  plot.points(points[0], points[1], "prior", { size: 3, opacity: 0.4 });
  REACH.forEach((reach, depth) => {
    const size = 9 / 3 ** depth;
    const first = size * Math.floor(leaf / size);
    const own = centres.slice(first, first + size);
    const middle = /** @type {Place} */ (
      [0, 1].map((k) => own.reduce((sum, one) => sum + (one[k] ?? 0), 0) / size)
    );
    plot.ellipse(middle, [reach, 0], [0, reach], ROLES[depth + 1] ?? "ink", {
      width: 1.5,
      dash: "5 4",
    });
  });
  if (!secret) {
    ROLES.forEach((role, kind) => {
      const own = draws.filter((_, n) => shared[n] === kind);
      plot.points(
        own.map(([one]) => one),
        own.map(([, one]) => one),
        role,
        { size: 5, opacity: 0.85 },
      );
    });
  }
  named(plot, [
    ["same leaf", "elbo"],
    ["branch", "other"],
    ["cluster", "posterior"],
    ["elsewhere", "gap"],
  ]);
  return plot.text(...x, "x", { dx: 12, dy: -8, bold: true });
}

/**
 * The chain of levels, and beside it what the draws share with x.
 *
 * @param {any} state
 * @param {Values} values
 * @param {boolean} secret
 */
function levels({ keep, drawn }, { shares }, secret) {
  const plot = new Plot({
    x: [0, 306],
    y: [0, 346],
    width: 310,
    height: 350,
    bare: true,
    equal: true,
    alt:
      "The chain z₃, z₂, z₁, x′ from the top down: filled where a level is kept. Beside it three " +
      "bars: the shares of the draws in x’s cluster, branch and leaf, with chance as a mark.",
  });
  const [middle, radius] = [36, 21];
  const names = ["z₁", "z₂", "z₃"];
  [BOTTOM, ...ROWS].forEach((row, level) => {
    // With z₂, z₃ above it was drawn from q, too.
    const kept = level >= Number(keep);
    plot.ellipse([middle, row], [radius, 0], [0, radius], kept ? "q" : "ink", {
      width: kept ? 3 : 1.5,
      fill: kept ? 0.35 : 0,
      dash: kept ? "" : "4 3",
    });
    plot.text(middle, row, level ? (names[level - 1] ?? "") : "x′", {
      anchor: "middle",
      dy: 5,
      bold: true,
    });
    const above = ROWS[level];
    if (above)
      plot.arrow([middle, above - radius - 3], [middle, row + radius + 3], "ink", { width: 1.5 });
  });
  const [left, right] = [84, 300];
  const at = (/** @type {number} */ share) => left + share * (right - left);
  DEPTHS.forEach((name, depth) => {
    const row = ROWS[2 - depth] ?? 0;
    const [low, high] = [row - 10, row + 10];
    const known = !secret && drawn >= 1;
    plot.text(left, high, `in x’s ${name}`, { dy: -7 });
    plot.text(right, high, secret ? "guess first" : known ? percent(shares[depth] ?? 0) : "", {
      anchor: "end",
      dy: -7,
      bold: !secret,
    });
    // A draw in x's leaf is in its branch and in its cluster, too.
    if (known) {
      for (let kind = 2; kind >= depth; kind--) {
        const from = at(shares[kind + 1] ?? 0);
        const to = at(shares[kind] ?? 0);
        if (to > from) plot.box([from, to], [low, high], ROLES[kind + 1] ?? "ink");
      }
    }
    const chance = at(CHANCE[depth] ?? 0);
    plot
      .rim([left, right], [low, high], "ink", { opacity: 0.6 })
      .line([chance, chance], [low - 6, high + 4], "ink", { width: 2.5 })
      .text(chance, low, `chance ${percent(CHANCE[depth] ?? 0)}`, { dx: 5, dy: 14 });
  });
  return plot
    .text(left, BOTTOM, "filled: kept, from q(z | x)", { role: "q", dy: -5, bold: true })
    .text(left, BOTTOM, "dashed: drawn again, from p", { dy: 14 });
}
