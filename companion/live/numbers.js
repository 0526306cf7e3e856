/** What figures do with numbers, again and again. */

/**
 * @param {number} value
 * @param {readonly [number, number]} limits
 */
export function clamp(value, [low, high]) {
  return Math.min(Math.max(value, low), high);
}

/**
 * Numbers at equal steps, both ends among them.
 *
 * @param {number} from
 * @param {number} to
 * @param {number} count
 */
export function linspace(from, to, count) {
  return Array.from({ length: count }, (_, i) => from + ((to - from) * i) / (count - 1));
}

/** @param {ArrayLike<number>} values */
export function sum(values) {
  let total = 0;
  for (let i = 0; i < values.length; i++) total += values[i] ?? 0;
  return total;
}

/** @param {ArrayLike<number>} values */
export function mean(values) {
  return sum(values) / values.length;
}

/**
 * log Σ exp(v), for numbers of any size.
 *
 * @param {ArrayLike<number>} values
 */
export function logSumExp(values) {
  let largest = -Infinity;
  for (let i = 0; i < values.length; i++) largest = Math.max(largest, values[i] ?? NaN);
  if (!Number.isFinite(largest)) return largest;
  let total = 0;
  for (let i = 0; i < values.length; i++) total += Math.exp((values[i] ?? NaN) - largest);
  return largest + Math.log(total);
}

/**
 * The x, or the y, of points that are stored as x, y, x, y …
 *
 * @param {ArrayLike<number>} points
 * @param {0 | 1} axis
 */
export function along(points, axis) {
  return Float64Array.from({ length: points.length / 2 }, (_, i) => points[2 * i + axis] ?? 0);
}

/**
 * A function of one number that keeps its last value: most frames ask for it again.
 *
 * @template T
 * @param {(of: number) => T} found
 */
export function last(found) {
  let [known, kept] = [NaN, /** @type {T | undefined} */ (undefined)];
  return (/** @type {number} */ of) => {
    if (kept === undefined || of !== known) [known, kept] = [of, found(of)];
    return kept;
  };
}
