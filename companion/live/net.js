/** Networks that Python handed over, run forward. */

/**
 * @typedef {{weight: ArrayLike<number> & {shape: number[]}, bias: ArrayLike<number>,
 *   then: "" | "silu" | "tanh"}} Layer  of weights out × in, and what follows
 */

const AFTER = {
  "": (/** @type {number} */ x) => x,
  silu: (/** @type {number} */ x) => x / (1 + Math.exp(-x)),
  tanh: Math.tanh,
};

/**
 * What a network makes of one row.
 *
 * @param {Layer[]} layers
 * @param {ArrayLike<number>} row
 */
export function forward(layers, row) {
  let x = Float64Array.from(row);
  for (const { weight, bias, then } of layers) {
    const y = new Float64Array(bias.length);
    for (let i = 0, k = 0; i < y.length; i++) {
      let sum = bias[i] ?? 0;
      for (let j = 0; j < x.length; j++, k++) sum += (weight[k] ?? 0) * (x[j] ?? 0);
      y[i] = AFTER[then](sum);
    }
    x = y;
  }
  return x;
}
