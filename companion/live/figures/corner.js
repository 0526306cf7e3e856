/**
 * The collapsed corner of a linear VAE of one pixel: a sink, or a saddle that paths leave.
 *
 * Data N(0, v); encoder N(ax, s²), with the best s for each w; decoder N(wz, 1). A path climbs the
 * gradient of the ELBO in w and a from where the reader drops it.
 */

import { figure } from "../figure.js";
import { linspace } from "../numbers.js";
import { Plot, shown } from "../plot.js";

const SIDE = 2;
const [STEP, STEPS] = [0.02, 4000];
const grid = linspace(-1.75, 1.75, 11);

/**
 * The gradient of the ELBO in w and a.
 *
 * @param {number} v
 * @param {number} w
 * @param {number} a
 * @returns {[number, number]}
 */
function slopes(v, w, a) {
  const missed = v * (1 - w * a);
  return [missed * a - w / (1 + w * w), missed * w - v * a];
}

export default figure({
  start: { v: 0.5, w: 1.4, a: 0.9 },
  limits: { w: [-SIDE, SIDE], a: [-SIDE, SIDE] },

  compute({ v, w, a }) {
    const path = { w: [w], a: [a] };
    let [x, y] = [w, a];
    for (let i = 0; i < STEPS; i++) {
      const [dw, da] = slopes(v, x, y);
      if (Math.hypot(dw, da) < 1e-5) break;
      [x, y] = [x + STEP * dw, y + STEP * da];
      path.w.push(x);
      path.a.push(y);
    }
    return {
      slope: slopes(v, w, a),
      path,
      end: [x, y],
      told: 0.5 * Math.log1p(y * y * v * (1 + x * x)),
    };
  },

  draw({ v }, { path }) {
    const plane = new Plot({
      x: [-SIDE, SIDE],
      y: [-SIDE, SIDE],
      width: 400,
      height: 340,
      xlabel: "w: how far the decoder listens",
      ylabel: "a: what the encoder says",
      ticks: [5, 5],
      alt: "Arrows of the gradient in the plane of w and a, the collapsed corner at its middle, and a path that climbs.",
    });
    for (const w of grid) {
      for (const a of grid) {
        const [dw, da] = slopes(v, w, a);
        // Long enough to be seen where the gradient is small, and apart where it is large.
        const long = 0.3 * Math.tanh(0.3 + Math.hypot(dw, da));
        const scale = long / (Math.hypot(dw, da) || 1);
        plane.arrow([w, a], [w + scale * dw, a + scale * da], "prior", { width: 1, opacity: 0.7 });
      }
    }
    plane.line(path.w, path.a, "q", { width: 3 });
    if (v > 1) {
      const best = Math.sqrt(v - 1);
      plane
        .points([-best, best], [-best / v, best / v], "elbo", { size: 11 })
        .text(best, best / v, "optimum", { role: "elbo", anchor: "end", dx: -9, dy: -7 });
    }
    return [
      plane.points([0], [0], "gap", { size: 11 }).text(0, 0, "collapse", {
        role: "gap",
        dx: 9,
        dy: 18,
        bold: true,
      }),
    ];
  },

  says: ({ v }, { told }) => {
    const variance = `Variance ${shown(v)}: the path ends`;
    if (told > 0.02) return `${variance} with a code that tells ${shown(told)} nats.`;
    return `${variance} in the collapsed corner.`;
  },

  controls: [
    {
      kind: "slider",
      name: "v",
      label: "variance over noise",
      min: 0.25,
      max: 4,
      log: true,
    },
  ],

  handles: [
    {
      label: "Where the path starts",
      role: "q",
      at: ({ w, a }) => [w, a],
      move: (_, [w, a]) => ({ w, a }),
    },
  ],
});
