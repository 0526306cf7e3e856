/**
 * Gaussians of one unit, in nats: `logNormal` and `klNormal` by mean and standard deviation, and
 * `gaussianKl`, as in the package, by what a network gives.
 */

const LOG_TWO_PI = Math.log(2 * Math.PI);

/**
 * log N(x; m, s²).
 *
 * @param {number} x
 * @param {number} mean
 * @param {number} scale
 */
export function logNormal(x, mean, scale) {
  const error = (x - mean) / scale;
  return -0.5 * (error * error + LOG_TWO_PI) - Math.log(scale);
}

/**
 * The density of N(m, s²).
 *
 * @param {number} mean
 * @param {number} scale
 */
export function density(mean, scale) {
  return (/** @type {number} */ x) => Math.exp(logNormal(x, mean, scale));
}

/**
 * KL(N(m, s²) ‖ N(μ, σ²)) = log σ/s + (s² + (m − μ)²) / 2σ² − ½.
 *
 * @param {number} mean
 * @param {number} scale
 * @param {number} [otherMean]  μ
 * @param {number} [otherScale]  σ
 */
export function klNormal(mean, scale, otherMean = 0, otherScale = 1) {
  const ratio = (scale / otherScale) ** 2;
  const shift = ((mean - otherMean) / otherScale) ** 2;
  return 0.5 * (ratio + shift - 1 - Math.log(ratio));
}

/**
 * KL(N(μ, σ²) ‖ N(0, 1)), from log σ².
 *
 * @param {number} mean
 * @param {number} logvar
 */
export function gaussianKl(mean, logvar) {
  return 0.5 * (mean * mean + Math.expm1(logvar) - logvar);
}
