/**
 * The floor under the gap: a posterior with two peaks, and the q of the reader.
 *
 * p is a mixture of N(−a, 1) and N(a, 1); q is one Gaussian, or two. Every gap is an integral over
 * ε ~ N(0, 1) in z = m + sε, so the grid follows q. The floor is the least gap of all Gaussians. As
 * a function of mean and scale the gap has other minima, too: hollows, in which a descent may end.
 */

import { figure } from "../figure.js";
import { density, logNormal } from "../gaussian.js";
import { gaussianHandles } from "../handles.js";
import { clamp } from "../numbers.js";
import { Plot, shown } from "../plot.js";

/** What the bar shows of a gap. */
const TOP = 1.6;
/** As near as this the reader is on the floor. */
const NEAR = 0.005;
/** @type {Record<string, [number, number]>} */
const LIMITS = {
  a: [0.5, 4],
  weight: [0.05, 0.95],
  mean: [-5.5, 5.5],
  scale: [0.3, 4.5],
  mean2: [-5.5, 5.5],
  scale2: [0.3, 4.5],
  share2: [0.05, 0.95],
  best: [0, 10],
};

/** The Gaussians of the map: their means, from left to right, and scales, from the top. */
const MAP = /** @type {const} */ ({ x: [-5.5, 5.5], y: [0.3, 4.5], columns: 56, rows: 26 });

/**
 * @typedef {{mean: number, scale: number, share: number}} Part  of a mixture of Gaussians
 * @typedef {(z: number) => number} Density  its logarithm
 * @typedef {{floor: number, mean: number, scale: number}} Best  a minimum, and its gap
 * @typedef {{a: number, weight: number, mean: number, scale: number, mean2: number, scale2: number,
 *   share2: number, family: string, doublings: number, best: number}} State
 * @typedef {{gap: number, floor: number, minima: Best[], record: number, onePeak: number}} Values
 * @typedef {{search: (a: number, weight: number) => {minima: Best[], shade: Float64Array}}} Ready
 */

/**
 * An even grid of ε with the weights of N(0, 1): the trapezoid rule.
 *
 * @param {number} steps  on either side of zero
 * @param {number} reach
 */
const rule = (steps, reach) =>
  Array.from({ length: 2 * steps + 1 }, (_, i) => {
    const noise = (i / steps - 1) * reach;
    return { noise, weight: (Math.exp(logNormal(noise, 0, 1)) * reach) / steps };
  });
const FINE = rule(200, 8);
const MEDIUM = rule(40, 5.5);
const COARSE = rule(12, 4);

/** The eight ways from a point of the search. */
const AROUND = /** @type {const} */ ([
  [1, 0],
  [-1, 0],
  [0, 1],
  [0, -1],
  [1, 1],
  [1, -1],
  [-1, 1],
  [-1, -1],
]);

/**
 * log p of two peaks of width one, at ±a; the right one has this weight.
 *
 * @param {number} a
 * @param {number} weight
 * @returns {Density}
 */
function twoPeaks(a, weight) {
  const odds = Math.log((1 - weight) / weight);
  const start = Math.log(weight) - 0.5 * Math.log(2 * Math.PI);
  // log(w e^r + (1 − w) e^l) = log w + r + log(1 + e^(l − r + log odds)), with l − r = −2az.
  return (z) => {
    const other = odds - 2 * a * z;
    const more = other > 30 ? other : Math.log1p(Math.exp(other));
    return start - 0.5 * (z - a) ** 2 + more;
  };
}

/**
 * log q of a mixture.
 *
 * @param {Part[]} parts
 * @returns {Density}
 */
function mixture(parts) {
  return (z) => {
    let [top, sum] = [-Infinity, 0];
    for (const { mean, scale, share } of parts) {
      const one = Math.log(share) + logNormal(z, mean, scale);
      sum = one > top ? sum * Math.exp(top - one) + 1 : sum + Math.exp(one - top);
      top = Math.max(top, one);
    }
    return top + Math.log(sum);
  };
}

/**
 * KL(N(m, s²) ‖ p) = −½ log(2πe s²) − E log p.
 *
 * @param {Density} logP
 * @param {number} mean
 * @param {number} scale
 * @param {typeof FINE} nodes
 */
function gaussianGap(logP, mean, scale, nodes) {
  let sum = -0.5 * Math.log(2 * Math.PI * Math.E) - Math.log(scale);
  for (const { noise, weight } of nodes) sum -= weight * logP(mean + scale * noise);
  return sum;
}

/**
 * The minima of the gap, the lowest first: a search over all Gaussians that can be one, then finer
 * around the best of the left, the middle and the right, for there may be one in each.
 *
 * @param {number} a
 * @param {number} weight
 * @returns {Best[]}
 */
function minimaOf(a, weight) {
  const logP = twoPeaks(a, weight);
  const widest = Math.log(Math.sqrt(1 + a * a));
  /** @type {Best[]} */
  const found = [];
  const [columns, rows] = [19, 5];
  for (let i = 0; i < columns; i++) {
    const third = Math.floor((3 * i) / columns);
    const mean = ((2 * i) / (columns - 1) - 1) * (a + 0.2);
    for (let k = 0; k < rows; k++) {
      const scale = 0.85 * Math.exp((k / (rows - 1)) * (widest + 0.2));
      const floor = gaussianGap(logP, mean, scale, COARSE);
      if (floor < (found[third]?.floor ?? Infinity)) found[third] = { floor, mean, scale };
    }
  }
  const refined = found.map((start) => {
    let here = { ...start, floor: gaussianGap(logP, start.mean, start.scale, MEDIUM) };
    for (let step = 0.1; step > 2e-4;) {
      let next = here;
      for (const [right, up] of AROUND) {
        const mean = here.mean + right * step;
        const scale = here.scale * Math.exp(up * step);
        const floor = gaussianGap(logP, mean, scale, MEDIUM);
        if (floor < next.floor) next = { floor, mean, scale };
      }
      if (next === here) step /= 2;
      here = next;
    }
    return here;
  });
  /** @type {Best[]} */
  const minima = [];
  for (const one of refined.sort((one, other) => one.floor - other.floor)) {
    if (minima.some((known) => Math.abs(known.mean - one.mean) < 0.1)) continue;
    minima.push({ ...one, floor: gaussianGap(logP, one.mean, one.scale, FINE) });
  }
  return minima;
}

/**
 * log p − E log of the mean of K ratios r = p(z) / q(z), z ~ q: the gap of the K-sample bound.
 *
 * For K = 1 that is E log(1/r). Otherwise log S = ∫ (e^−t − e^−tS) dt/t for every S > 0, and the
 * ratios are independent, so that E e^−tS = φ(t/K)^K with φ(t) = E e^−tr: an integral over log t.
 *
 * @param {Density} logP
 * @param {Part[]} parts  of q
 * @param {number} K
 */
function sampleGap(logP, parts, K) {
  const logQ = mixture(parts);
  const ratios = parts.flatMap(({ mean, scale, share }) =>
    FINE.map(({ noise, weight }) => {
      const z = mean + scale * noise;
      return { weight: share * weight, log: logP(z) - logQ(z) };
    }),
  );
  if (K === 1) return ratios.reduce((sum, { weight, log }) => sum - weight * log, 0);
  // Ascending: at a time t the first ones leave e^−tr at one, and the last ones at zero.
  ratios.sort((one, other) => one.log - other.log);
  const below = [0];
  for (const { weight } of ratios) below.push((below.at(-1) ?? 0) + weight);
  const total = below.at(-1) ?? 1;
  const step = 0.5;
  let sum = 0;
  let first = ratios.length;
  let last = first;
  for (let logTime = -22; logTime < 400; logTime += step) {
    const late = logTime - Math.log(K);
    while (first > 0 && (ratios[first - 1]?.log ?? 0) + late > -30) first--;
    while (last > 0 && (ratios[last - 1]?.log ?? 0) + late > 4) last--;
    let mean = below[first] ?? 0;
    for (let i = first; i < last; i++) {
      const { weight, log } = /** @type {{weight: number, log: number}} */ (ratios[i]);
      mean += weight * Math.exp(-Math.exp(log + late));
    }
    const none = Math.exp(-Math.exp(logTime));
    const term = (mean / total) ** K;
    sum += step * (term - none);
    if (term < 1e-9 && logTime > 4) break;
  }
  return sum;
}

/**
 * The members of q.
 *
 * @param {State} state
 * @returns {Part[]}
 */
function partsOf({ family, mean, scale, mean2, scale2, share2 }) {
  if (family === "one") return [{ mean, scale, share: 1 }];
  return [
    { mean, scale, share: 1 - share2 },
    { mean: mean2, scale: scale2, share: share2 },
  ];
}

/**
 * The gap of a state's q, for its number of samples.
 *
 * @param {State} state
 */
function gapOf(state) {
  return sampleGap(
    twoPeaks(state.a, state.weight),
    partsOf(state),
    2 ** Math.round(state.doublings),
  );
}

const limitsOf = (/** @type {string} */ name) => /** @type {[number, number]} */ (LIMITS[name]);

/**
 * A state that was moved, with the least gap so far of one Gaussian and one sample.
 *
 * @param {State} state
 * @param {Partial<State>} change
 */
function recorded(state, change) {
  change = Object.fromEntries(
    Object.entries(change).map(([name, value]) => [name, clamp(Number(value), limitsOf(name))]),
  );
  const next = { ...state, ...change };
  const counts = next.family === "one" && Math.round(next.doublings) === 0;
  return { ...change, best: counts ? Math.min(next.best, gapOf(next)) : next.best };
}

const same = (/** @type {number} */ value) => value;
const odds = (/** @type {number} */ share) => Math.log(share / (1 - share));
const ofOdds = (/** @type {number} */ value) => 1 / (1 + Math.exp(-value));

/**
 * What a descent moves: as which number, how to come back from that, how far a slope goes.
 * In the mean and the logarithm of the scale of a Gaussian that is the natural gradient.
 */
const MOVES = /** @type {const} */ ({
  mean: [same, same, (/** @type {State} */ { scale }) => scale ** 2],
  scale: [Math.log, Math.exp, () => 0.5],
  mean2: [same, same, (/** @type {State} */ { scale2 }) => scale2 ** 2],
  scale2: [Math.log, Math.exp, () => 0.5],
  share2: [odds, ofOdds, () => 2],
});

/**
 * One step down the gap, and never up: half as far until it falls. Null at a minimum.
 *
 * @param {State} state
 */
function descend(state) {
  const all = /** @type {(keyof typeof MOVES)[]} */ (Object.keys(MOVES));
  const moved = state.family === "one" ? all.slice(0, 2) : all;
  const small = 1e-3;
  const steps = moved.map((name) => {
    const [there, back, far] = MOVES[name];
    const at = there(state[name]);
    const pushed = (/** @type {number} */ by) => ({ ...state, [name]: back(at + by) });
    const slope = (gapOf(pushed(small)) - gapOf(pushed(-small))) / (2 * small);
    return clamp(0.5 * far(state) * slope, [-0.06, 0.06]);
  });
  const before = gapOf(state);
  for (let part = 1; part > 0.01; part /= 2) {
    /** @type {Partial<State>} */
    const change = {};
    let most = 0;
    for (const [i, name] of moved.entries()) {
      const [there, back] = MOVES[name];
      const next = clamp(back(there(state[name]) - part * (steps[i] ?? 0)), limitsOf(name));
      change[name] = next;
      most = Math.max(most, Math.abs(next - state[name]));
    }
    if (most < 5e-4) return null;
    if (gapOf({ ...state, ...change }) < before) return recorded(state, change);
  }
  return null;
}

/**
 * The minimum that a lone Gaussian has come to, if it has.
 *
 * @param {State} state
 * @param {Values} values
 */
function reached({ mean, scale }, { gap, minima }) {
  return minima.find(
    (one) =>
      gap < one.floor + NEAR &&
      Math.abs(mean - one.mean) < 0.5 &&
      Math.abs(Math.log(scale / one.scale)) < 0.2,
  );
}

export default figure({
  start: {
    a: 3,
    weight: 0.5,
    mean: 1.4,
    scale: 1.7,
    mean2: -1.2,
    scale2: 1.3,
    share2: 0.4,
    family: "one",
    doublings: 0,
    best: 10,
  },
  limits: LIMITS,

  prepare() {
    let known = "";
    /** @type {{minima: Best[], shade: Float64Array}} */
    let kept;
    return {
      search(/** @type {number} */ a, /** @type {number} */ weight) {
        const key = `${a} ${weight}`;
        if (key !== known) {
          const minima = minimaOf(a, weight);
          const shade = mapped(a, weight, minima[0]?.floor ?? 0);
          [known, kept] = [key, { minima, shade }];
        }
        return kept;
      },
    };
  },

  compute(state, /** @type {Ready} */ { search }) {
    const { minima } = search(state.a, state.weight);
    const floor = minima[0]?.floor ?? NaN;
    const gap = gapOf(/** @type {State} */ (state));
    const counts = state.family === "one" && Math.round(state.doublings) === 0;
    // An address holds few digits of a record.
    const record = Math.max(Math.min(state.best, counts ? gap : 10), floor);
    const onePeak = -Math.log(Math.max(state.weight, 1 - state.weight));
    return { gap, floor, minima, record, onePeak };
  },

  draw(state, values, /** @type {Ready} */ { search }, { guessing }) {
    const own = /** @type {State} */ (state);
    return [
      densities(own),
      bar(own, values, guessing),
      landscape(own, values, search(own.a, own.weight).shade, guessing),
    ];
  },

  says(state, /** @type {Values} */ values, { guessing }) {
    const { gap, floor, onePeak } = values;
    const K = 2 ** Math.round(state.doublings);
    const one = state.family === "one";
    const start = `${one ? "One Gaussian" : "A mixture of two"}, K = ${K}: gap ${shown(gap, 3)} nats`;
    const at = one && K === 1 ? reached(/** @type {State} */ (state), values) : undefined;
    if (guessing) return at ? `${start}: a hollow, in which a descent ends` : start;
    if (gap < 5e-4)
      return `${start}. Gap closed: ${one ? "one peak is enough here" : "two peaks for two"}`;
    if (gap < floor - 1e-4) {
      const why = one ? "K samples are another bound" : "a mixture is another family";
      return `${start}, below the floor of ${shown(floor, 3)}: ${why}`;
    }
    if (at && at.floor > floor + NEAR)
      return `${start}: a hollow, but not the lowest: ${shown(gap - floor, 3)} above the floor`;
    if (gap > floor + NEAR || !one || K > 1)
      return `${start}, ${shown(gap - floor, 3)} above the floor`;
    const equal = Math.abs(state.weight - 0.5) < 0.005 ? "log 2 = " : "";
    return `${start}: the floor. One whole peak alone costs ${equal}${shown(onePeak, 3)}`;
  },

  controls: [
    {
      kind: "choice",
      name: "family",
      label: "q",
      options: [
        ["one", "one Gaussian"],
        ["two", "a mixture of two"],
      ],
    },
    {
      kind: "slider",
      name: "doublings",
      label: "samples K",
      min: 0,
      max: 6,
      step: 1,
      text: (value) => String(2 ** Math.round(value)),
    },
  ],
  handles: [
    {
      label: "A peak of the posterior: how far out, and how heavy",
      role: "posterior",
      at: ({ a, weight }) => [-a, Math.exp(twoPeaks(a, weight)(-a))],
      move: (_, [x, y]) => {
        const a = clamp(-x, limitsOf("a"));
        // p(−a) = (1 − w) N(0; 0, 1) + w N(2a; 0, 1), solved for w.
        const [near, far] = [density(0, 1)(0), density(0, 1)(2 * a)];
        return { a, weight: (near - y) / (near - far), best: 10 };
      },
      says: ({ a, weight }) =>
        `peaks at ±${shown(a)}, the left one holds ${shown(100 - 100 * weight, 0)} %`,
    },
    ...gaussianHandles("q", {
      height: (z, state) => {
        const part = partsOf(state)[0];
        return heightOf(part, (z - state.mean) / state.scale);
      },
      says: ({ gap }) => `gap ${shown(gap, 3)} nats`,
    }).map((handle) => ({
      ...handle,
      move: (/** @type {any} */ state, /** @type {[number, number]} */ to) =>
        recorded(state, handle.move(state, to, null)),
    })),
    {
      label: "Second peak of q: its mean and its share",
      role: "q",
      shown: ({ family }) => family === "two",
      at: (state) => [state.mean2, heightOf(partsOf(/** @type {State} */ (state))[1], 0)],
      move: ({ scale2 }, [x, y]) => ({
        mean2: x,
        share2: y * scale2 * Math.sqrt(2 * Math.PI),
      }),
      says: ({ mean2, share2 }, { gap }) =>
        `mean ${shown(mean2)}, share ${shown(100 * share2, 0)} %, gap ${shown(gap, 3)} nats`,
    },
    {
      label: "Second flank of q: its standard deviation",
      role: "q",
      along: "x",
      shown: ({ family }) => family === "two",
      at: (state) => [
        state.mean2 + state.scale2,
        heightOf(partsOf(/** @type {State} */ (state))[1], 1),
      ],
      move: ({ mean2 }, [x]) => ({ scale2: x - mean2 }),
      says: ({ scale2 }, { gap }) =>
        `standard deviation ${shown(scale2)}, gap ${shown(gap, 3)} nats`,
    },
    {
      label: "q on the map of all Gaussians",
      panel: 2,
      role: "q",
      shown: ({ family }) => family === "one",
      at: ({ mean, scale }) => [mean, scale],
      move: (state, [x, y]) => recorded(/** @type {State} */ (state), { mean: x, scale: y }),
    },
  ],
  play: { label: "Descend from here", step: (state) => descend(/** @type {State} */ (state)) },
  guess: {
    kind: "number",
    question: "How small can one Gaussian q make the gap to these two peaks?",
    label: "least gap in nats",
    min: 0,
    max: 2,
    start: 1,
    digits: 2,
    unit: "nats",
    truth: (_, { floor }) => floor,
  },
});

/**
 * The height of a member of q, some scales from its mean.
 *
 * @param {Part | undefined} part
 * @param {number} away
 */
function heightOf(part, away) {
  if (!part) return 0;
  return part.share * density(0, part.scale)(away * part.scale);
}

/**
 * How dark the map of all Gaussians is: the nearer to the floor, the darker.
 *
 * @param {number} a
 * @param {number} weight
 * @param {number} floor
 */
function mapped(a, weight, floor) {
  const logP = twoPeaks(a, weight);
  const { x, y, columns, rows } = MAP;
  return Float64Array.from({ length: columns * rows }, (_, i) => {
    const mean = x[0] + ((i % columns) + 0.5) * ((x[1] - x[0]) / columns);
    const scale = y[1] - (Math.floor(i / columns) + 0.5) * ((y[1] - y[0]) / rows);
    return 0.9 * Math.exp(-2.2 * Math.max(gaussianGap(logP, mean, scale, COARSE) - floor, 0));
  });
}

/**
 * The posterior and q.
 *
 * @param {State} state
 */
function densities(state) {
  const plot = new Plot({
    x: [-7.5, 7.5],
    y: [0, 0.56],
    width: 400,
    height: 190,
    xlabel: "latent z",
    ticks: [6, 0],
    alt: "The density of a posterior with two peaks, and that of q, over the latent z.",
  });
  const parts = partsOf(state);
  const [logP, logQ] = [twoPeaks(state.a, state.weight), mixture(parts)];
  plot
    .curve((z) => Math.exp(logP(z)), "posterior", { width: 2.5 })
    .curve((z) => Math.exp(logQ(z)), "q", { width: 2.5, fill: 0.25 });
  if (parts.length > 1) {
    for (const part of parts) {
      const one = density(part.mean, part.scale);
      plot.curve((z) => part.share * one(z), "q", { width: 1.2, dash: "4 3" });
    }
  }
  return plot
    .text(-7.3, 0.56, "posterior p(z | x)", { role: "posterior", dy: 14 })
    .text(-7.3, 0.56, parts.length > 1 ? "q, a mixture" : "q", { role: "q", dy: 31, bold: true });
}

/**
 * The gap as a bar, beside the floor and the least gap so far.
 *
 * @param {State} state
 * @param {Values} values
 * @param {boolean} guessing
 */
function bar(state, { gap, floor, record }, guessing) {
  const K = 2 ** Math.round(state.doublings);
  const plot = new Plot({
    x: [0, 3.1],
    y: [0, TOP],
    width: 250,
    height: 190,
    ylabel: "nats",
    ticks: [0, 6],
    title: K === 1 ? "gap of the ELBO" : `gap of the bound, K = ${K}`,
    alt: "A bar: the gap. A dashed line: the floor, the least gap of any Gaussian.",
  });
  const [left, right, beside] = [0.25, 1.2, 1.4];
  const cut = gap > TOP;
  if (cut) {
    // Broken below its upper end: it goes on.
    plot.box([left, right], [0, 0.86 * TOP], "gap").box([left, right], [0.9 * TOP, TOP], "gap");
  } else plot.box([left, right], [0, gap], "gap");
  if (!guessing) {
    const near = record <= floor + NEAR;
    plot
      .rule({ y: floor }, "ink", { dash: "5 4" })
      .text(beside, floor, `floor ${shown(floor, 3)}`, { dy: floor > 0.16 ? 16 : -4 });
    if (!near && record < TOP) plot.line([right, 3.1], [record, record], "gap", { width: 1.5 });
    const words = near ? "reached" : `least so far ${shown(record, 3)}`;
    if (record < 10) {
      const at = near ? floor : Math.min(record, TOP - 0.16);
      plot.text(beside, at, words, { role: "gap", dy: near && floor <= 0.16 ? -20 : -5 });
    }
  }
  const inside = gap > TOP - 0.16;
  return plot.text(
    (left + right) / 2,
    Math.min(gap, TOP),
    `gap ${shown(gap, 3)}${cut ? " ↑" : ""}`,
    {
      role: inside ? "ink" : "gap",
      anchor: "middle",
      dy: inside ? 42 : -6,
      bold: true,
    },
  );
}

/**
 * The map of all Gaussians by mean and scale.
 *
 * @param {State} state
 * @param {Values} values
 * @param {Float64Array} shade
 * @param {boolean} guessing
 */
function landscape(
  { family, mean, scale, mean2, scale2, doublings },
  { floor, minima },
  shade,
  guessing,
) {
  const plot = new Plot({
    x: [...MAP.x],
    y: [...MAP.y],
    width: 400,
    height: 180,
    title: `every Gaussian${doublings ? ", K = 1" : ""}: the greener, the smaller its gap`,
    xlabel: "mean",
    ylabel: "scale",
    ticks: [6, 4],
    alt: "A map of all Gaussians by mean and scale: it is dark where the gap is near the floor.",
  });
  plot.pixels(shade, MAP.columns, { x: [...MAP.x], y: [...MAP.y], role: "elbo", smooth: true });
  for (const one of guessing ? [] : minima) {
    // On the side where q is not.
    const left = mean > one.mean;
    plot.points([one.mean], [one.scale], "ink", { size: 6 });
    plot.text(one.mean, one.scale, one.floor < floor + NEAR ? "floor" : "hollow", {
      anchor: left ? "end" : "start",
      dx: left ? -8 : 8,
      dy: scale > one.scale ? 15 : -7,
    });
  }
  if (family !== "one") plot.points([mean, mean2], [scale, scale2], "q", { size: 9 });
  return plot;
}
