/** The two handles of a Gaussian's curve: its peak sets the mean, its flank the standard deviation. */

import { logNormal } from "./gaussian.js";
import { shown } from "./plot.js";

/** @typedef {import("./figure.js").Handle} Handle */

/**
 * @param {string} what  the name of the Gaussian
 * @param {{
 *   mean?: string, scale?: string, height?: (z: number, state: any) => number,
 *   says?: (values: any) => string, more?: Partial<Handle>,
 * }} [look]  mean, scale: their names in the state; height: of the curve, if it is not the density;
 *   says: what the figure says of it, beside the number; more: what else both handles have
 * @returns {Handle[]}
 */
export function gaussianHandles(what, look = {}) {
  const { mean = "mean", scale = "scale", says, more = {} } = look;
  const height = look.height ?? ((z, state) => Math.exp(logNormal(z, state[mean], state[scale])));
  const rest = (/** @type {any} */ values) => (says ? `, ${says(values)}` : "");
  return [
    {
      label: `Peak of ${what}: its mean`,
      role: "q",
      along: "x",
      at: (state) => [state[mean], height(state[mean], state)],
      move: (_, [x]) => ({ [mean]: x }),
      says: (state, values) => `mean ${shown(state[mean])}${rest(values)}`,
      ...more,
    },
    {
      label: `Flank of ${what}: its standard deviation`,
      role: "q",
      along: "x",
      at: (state) => {
        const z = state[mean] + state[scale];
        return [z, height(z, state)];
      },
      move: (state, [x]) => ({ [scale]: x - state[mean] }),
      says: (state, values) => `standard deviation ${shown(state[scale])}${rest(values)}`,
      ...more,
    },
  ];
}
