// @ts-check
// Dense networks in plain numbers: layers forward and backward, Adam.
//
// A matrix is a Float64Array, row by row. Everything is computed in float64, as the tests of the
// package compute it, so that a difference from torch is a mistake and never rounding.

/** @typedef {Float64Array | Float32Array} Numbers */
/** @typedef {{ weight: Numbers, bias: Numbers, in: number, out: number }} Layer */
/** @typedef {import("./random.js").Random} Random */

/**
 * Write c[i, j] = bias[j] + Σ_k a[i, k] b[j, k]: the one product that all passes are made of.
 * Blocks of 2 × 4 are summed in registers; at the edges an index repeats, and writes the same.
 * @param {Float64Array} a n × k
 * @param {number} n
 * @param {Float64Array} b m × k
 * @param {number} m
 * @param {number} k
 * @param {Float64Array} c n × m
 * @param {Float64Array} [bias] m
 */
export function products(a, n, b, m, k, c, bias) {
  for (let j = 0; j < m; j += 4) {
    const j1 = j + 1 < m ? j + 1 : m - 1;
    const j2 = j + 2 < m ? j + 2 : m - 1;
    const j3 = j + 3 < m ? j + 3 : m - 1;
    const bias0 = bias ? at(bias, j) : 0;
    const bias1 = bias ? at(bias, j1) : 0;
    const bias2 = bias ? at(bias, j2) : 0;
    const bias3 = bias ? at(bias, j3) : 0;
    const b0 = j * k;
    const b1 = j1 * k;
    const b2 = j2 * k;
    const b3 = j3 * k;
    for (let i = 0; i < n; i += 2) {
      const i1 = i + 1 < n ? i + 1 : i;
      const a0 = i * k;
      const a1 = i1 * k;
      let s00 = bias0;
      let s01 = bias1;
      let s02 = bias2;
      let s03 = bias3;
      let s10 = bias0;
      let s11 = bias1;
      let s12 = bias2;
      let s13 = bias3;
      for (let l = 0; l < k; l++) {
        const x0 = at(a, a0 + l);
        const x1 = at(a, a1 + l);
        const y0 = at(b, b0 + l);
        const y1 = at(b, b1 + l);
        const y2 = at(b, b2 + l);
        const y3 = at(b, b3 + l);
        s00 += x0 * y0;
        s01 += x0 * y1;
        s02 += x0 * y2;
        s03 += x0 * y3;
        s10 += x1 * y0;
        s11 += x1 * y1;
        s12 += x1 * y2;
        s13 += x1 * y3;
      }
      c[i * m + j] = s00;
      c[i * m + j1] = s01;
      c[i * m + j2] = s02;
      c[i * m + j3] = s03;
      c[i1 * m + j] = s10;
      c[i1 * m + j1] = s11;
      c[i1 * m + j2] = s12;
      c[i1 * m + j3] = s13;
    }
  }
}

/**
 * An entry that is known to be there: the checker cannot know it, and a check would cost time.
 * @param {Numbers | Int32Array} array
 * @param {number} index
 * @returns {number}
 */
export function at(array, index) {
  return /** @type {number} */ (array[index]);
}

/**
 * @param {Float64Array} a n × m
 * @param {number} n
 * @param {number} m
 * @param {Float64Array} turned m × n
 */
function transpose(a, n, m, turned) {
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < m; j++) turned[j * n + i] = at(a, i * m + j);
  }
}

/**
 * Put the SiLU in place of each entry, a → a · sigmoid(a), and its slope into `slope`.
 * @param {Float64Array} values
 * @param {number} count
 * @param {Float64Array} [slope]
 */
export function silu(values, count, slope) {
  for (let i = 0; i < count; i++) {
    const a = at(values, i);
    const s = 1 / (1 + Math.exp(-a));
    values[i] = a * s;
    if (slope) slope[i] = s * (1 + a * (1 - s));
  }
}

// Rows that go through a network at once: few enough that they stay in the processor's cache.
const CHUNK = 64;

/**
 * A network that is only evaluated, such as an exported one: affine layers with SiLU between.
 * Rows enter one after the other, and so do the results come out. Weights in float64 are not
 * copied: when they change, the network does.
 * @param {Layer[]} layers
 * @returns {(rows: ArrayLike<number>, out?: Float64Array) => Float64Array}
 */
export function mlp(layers) {
  const own = layers.map((layer) => ({
    ...layer,
    weight: doubles(layer.weight),
    bias: doubles(layer.bias),
    values: new Float64Array(CHUNK * layer.out),
  }));
  const size = layers[0]?.in ?? 0;
  const outputs = layers.at(-1)?.out ?? 0;
  const input = new Float64Array(CHUNK * size);
  return (rows, out = new Float64Array((rows.length / size) * outputs)) => {
    const count = rows.length / size;
    for (let from = 0; from < count; from += CHUNK) {
      const n = Math.min(CHUNK, count - from);
      for (let i = 0; i < n * size; i++) input[i] = rows[from * size + i] ?? 0;
      let x = input;
      own.forEach((layer, depth) => {
        products(x, n, layer.weight, layer.out, layer.in, layer.values, layer.bias);
        if (depth < own.length - 1) silu(layer.values, n * layer.out);
        x = layer.values;
      });
      out.set(x.subarray(0, n * outputs), from * outputs);
    }
    return out;
  };
}

/**
 * @param {Numbers} numbers
 * @returns {Float64Array}
 */
function doubles(numbers) {
  return numbers instanceof Float64Array ? numbers : Float64Array.from(numbers);
}

/**
 * How many weights and biases a network of these sizes has.
 * @param {number[]} sizes
 * @returns {number}
 */
export function countWeights(sizes) {
  return sizes.slice(1).reduce((sum, out, i) => sum + out * ((sizes[i] ?? 0) + 1), 0);
}

/**
 * A network that learns. Weights and gradients are parts of the model's two long arrays, so that
 * one pass of the optimiser reaches all; every other array is used again from step to step.
 */
export class Network {
  /**
   * @param {number[]} sizes Input, hidden layers, output.
   * @param {Float64Array} parameters Exactly `countWeights(sizes)` of them.
   * @param {Float64Array} gradients
   */
  constructor(sizes, parameters, gradients) {
    const nothing = () => /** @type {Float64Array} */ (new Float64Array());
    let from = 0;
    /** @param {number} length */
    const take = (length) => {
      const part = [from, (from += length)];
      return /** @type {const} */ ([parameters.subarray(...part), gradients.subarray(...part)]);
    };
    this.layers = sizes.slice(1).map((out, i) => {
      const inputs = sizes[i] ?? 0;
      const [weight, weightGradient] = take(out * inputs);
      const [bias, biasGradient] = take(out);
      return {
        in: inputs,
        out,
        weight,
        bias,
        weightGradient,
        biasGradient,
        turned: new Float64Array(out * inputs),
        x: nothing(),
        y: nothing(),
        slope: nothing(),
        xTurned: nothing(),
        yTurned: nothing(),
        xGradient: nothing(),
      };
    });
    this.capacity = 0;
    this.rows = 0;
  }

  /**
   * Draw new weights and biases as torch's Linear does: uniform up to ±1/√in.
   * @param {Random} uniform
   */
  initialise(uniform) {
    for (const layer of this.layers) {
      const limit = 1 / Math.sqrt(layer.in);
      for (const part of [layer.weight, layer.bias]) {
        for (let i = 0; i < part.length; i++) part[i] = limit * (2 * uniform() - 1);
      }
    }
  }

  /** @param {number} rows */
  reserve(rows) {
    if (rows <= this.capacity) return;
    this.capacity = rows;
    for (const layer of this.layers) {
      layer.y = new Float64Array(rows * layer.out);
      layer.slope = new Float64Array(rows * layer.out);
      layer.yTurned = new Float64Array(rows * layer.out);
      layer.xTurned = new Float64Array(rows * layer.in);
      layer.xGradient = new Float64Array(rows * layer.in);
    }
  }

  /**
   * Return the outputs, rows × out, in an array that the next call overwrites.
   * @param {Float64Array} x rows × in; the backward pass reads it again.
   * @param {number} rows
   * @returns {Float64Array}
   */
  forward(x, rows) {
    this.reserve(rows);
    this.rows = rows;
    this.layers.forEach((layer, depth) => {
      layer.x = x;
      products(x, rows, layer.weight, layer.out, layer.in, layer.y, layer.bias);
      if (depth < this.layers.length - 1) silu(layer.y, rows * layer.out, layer.slope);
      x = layer.y;
    });
    return x;
  }

  /**
   * Put the gradients of all weights in their place, and return that of the input, rows × in, if
   * it is wanted. A network is used once a step: gradients are written, not added.
   * @param {Float64Array} gradient Of the last forward pass's outputs.
   * @param {boolean} [wanted]
   * @returns {Float64Array}
   */
  backward(gradient, wanted = true) {
    const rows = this.rows;
    for (let depth = this.layers.length - 1; depth >= 0; depth--) {
      const layer = /** @type {(typeof this.layers)[number]} */ (this.layers[depth]);
      transpose(gradient, rows, layer.out, layer.yTurned);
      transpose(layer.x, rows, layer.in, layer.xTurned);
      products(layer.yTurned, layer.out, layer.xTurned, layer.in, rows, layer.weightGradient);
      for (let j = 0; j < layer.out; j++) {
        let sum = 0;
        for (let i = j * rows; i < (j + 1) * rows; i++) sum += at(layer.yTurned, i);
        layer.biasGradient[j] = sum;
      }
      if (depth === 0 && !wanted) break;
      transpose(layer.weight, layer.out, layer.in, layer.turned);
      products(gradient, rows, layer.turned, layer.in, layer.out, layer.xGradient);
      gradient = layer.xGradient;
      const slope = this.layers[depth - 1]?.slope;
      if (!slope) break;
      for (let i = 0; i < rows * layer.in; i++) gradient[i] = at(gradient, i) * at(slope, i);
    }
    return gradient;
  }
}

/** Adam with torch's defaults, for parameters that are to go *down* their gradients. */
export class Adam {
  /** @param {number} count */
  constructor(count) {
    this.mean = new Float64Array(count);
    this.square = new Float64Array(count);
    this.steps = 0;
  }

  /**
   * @param {Float64Array} parameters
   * @param {Float64Array} gradients
   * @param {number} lr
   * @param {number} [from]  of the first parameter that moves
   * @param {number} [to]  one past the last
   */
  step(parameters, gradients, lr, from = 0, to = parameters.length) {
    this.steps += 1;
    const size = lr / (1 - 0.9 ** this.steps);
    const correction = 1 / Math.sqrt(1 - 0.999 ** this.steps);
    for (let i = from; i < to; i++) {
      const g = at(gradients, i);
      const mean = 0.9 * at(this.mean, i) + 0.1 * g;
      const square = 0.999 * at(this.square, i) + 0.001 * g * g;
      this.mean[i] = mean;
      this.square[i] = square;
      parameters[i] = at(parameters, i) - (size * mean) / (Math.sqrt(square) * correction + 1e-8);
    }
  }
}
