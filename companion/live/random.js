// @ts-check
// Random numbers of a seed.

/** @typedef {() => number} Random */

/**
 * Uniform random numbers in [0, 1): the same seed, the same numbers, on every machine.
 * The generator is C. Doty-Humphrey's sfc32.
 * @param {number} seed
 * @returns {Random}
 */
export function generator(seed) {
  let a = seed | 0;
  let b = Math.floor(seed / 2 ** 32) | 0;
  let c = 0x9e3779b9 | 0;
  let counter = 1;
  const next = () => {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return (sum >>> 0) / 2 ** 32;
  };
  // Seeds that differ in one bit give streams that have nothing in common after a few rounds.
  for (let i = 0; i < 15; i++) next();
  return next;
}

/**
 * Standard normal random numbers from uniform ones (G. Marsaglia's polar method).
 * @param {Random} uniform
 * @returns {Random}
 */
export function normal(uniform) {
  let spare = NaN;
  return () => {
    if (spare === spare) {
      const kept = spare;
      spare = NaN;
      return kept;
    }
    for (;;) {
      const u = 2 * uniform() - 1;
      const v = 2 * uniform() - 1;
      const square = u * u + v * v;
      if (square > 0 && square < 1) {
        const factor = Math.sqrt((-2 * Math.log(square)) / square);
        spare = v * factor;
        return u * factor;
      }
    }
  };
}
