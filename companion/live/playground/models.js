// @ts-check
// The companion's family of models for points in the plane, with the gradient of its objectives.
//
//   p(x, z_1 … z_L) = p(x | z_1) p(z_1 | z_2) … p(z_L)
//   bottom-up   q(z | x) = q(z_1 | x) q(z_2 | z_1) …
//   top-down    q(z | x) = q(z_L | x) q(z_{L−1} | z_L, x) …
//
// A trace draws K times for each of B points; row k · B + b is draw k of point b. Level 0 of an
// array is z_1. The backward pass is written by hand: it needs no graph, and leaves no garbage.

import { Network, at, countWeights, mlp } from "../nn.js";
import { mean } from "../numbers.js";
import { generator } from "../random.js";

const LOG_TWO_PI = Math.log(2 * Math.PI);

/**
 * @typedef {object} Shape
 * @property {number} levels L, 1 to 3.
 * @property {number} units Latent units a level, 1 or 2.
 * @property {number} hidden Width of the two hidden layers of every network.
 * @property {"bottom-up" | "top-down"} encoder
 * @property {number} sigma Decoder's σ, or where it starts.
 * @property {boolean} learnSigma
 * @property {number} seed Of the weights.
 */

/**
 * @typedef {object} Objective
 * @property {"elbo" | "iwae"} bound iwae has no use for β, free nats or closed forms.
 * @property {"sampled" | "analytic"} rates Closed form where companion has it, see `hasAnalytic`.
 * @property {ArrayLike<number>} betas The weight of each level's rate.
 * @property {number} freeNats λ: a level's rate costs at least that, and pulls at nothing below.
 */

/** Points in the plane. */
export const DATA_SIZE = 2;

export class Model {
  /** @param {Shape} shape */
  constructor(shape) {
    const { levels, units, hidden, encoder, learnSigma } = shape;
    this.shape = shape;
    this.levels = levels;
    this.units = units;
    this.topDown = encoder === "top-down";
    /** Which level is drawn from x itself. */
    this.first = this.topDown ? levels - 1 : 0;
    const above = this.topDown ? DATA_SIZE + units : units;
    const encoders = Array.from({ length: levels }, (_, l) => [
      l === this.first ? DATA_SIZE : above,
      hidden,
      hidden,
      2 * units,
    ]);
    const decoders = Array.from({ length: levels }, (_, l) => [
      units,
      hidden,
      hidden,
      l === 0 ? DATA_SIZE : 2 * units,
    ]);
    const count = [...encoders, ...decoders].reduce((sum, s) => sum + countWeights(s), 0);
    /** All that is trained: encoders, decoders, and at the end log σ² if it is learned. */
    this.parameters = new Float64Array(count + (learnSigma ? 1 : 0));
    this.gradients = new Float64Array(this.parameters.length);
    let from = 0;
    /** @param {number[]} sizes */
    const network = (sizes) => {
      const end = from + countWeights(sizes);
      const made = new Network(
        sizes,
        this.parameters.subarray(from, end),
        this.gradients.subarray(from, end),
      );
      from = end;
      return made;
    };
    this.encoders = encoders.map(network);
    /** How many of the parameters are the encoders': the first ones. */
    this.encoding = from;
    this.decoders = decoders.map(network);
    this.logvar = learnSigma ? this.parameters.subarray(count) : new Float64Array(1);
    this.logvar[0] = 2 * Math.log(shape.sigma);
    const uniform = generator(shape.seed);
    for (const part of [...this.encoders, ...this.decoders]) part.initialise(uniform);
    this.batch = 0;
    this.draws = 0;
    const none = () => /** @type {Float64Array[]} */ ([]);
    const nothing = () => /** @type {Float64Array} */ (new Float64Array());
    // The trace: draws, their ε, what the networks said of q, p and x, and the terms of the bound.
    this.z = none();
    this.noise = none();
    this.q = none();
    this.p = none();
    this.mean = nothing();
    this.reconstruction = nothing();
    this.rates = none();
    // What each term weighs in the objective, and the gradients that follow.
    this.reconstructionWeight = nothing();
    this.rateWeight = none();
    this.zGradient = none();
    this.qGradient = none();
    this.pGradient = none();
    this.xGradient = nothing();
    this.beside = none();
    this.logWeight = nothing();
    this.reserve(1, 1);
  }

  get sigma() {
    return Math.exp(0.5 * at(this.logvar, 0));
  }

  /** Whether every rate is a KL in closed form: with one level, or from the top down. */
  get hasAnalytic() {
    return this.levels === 1 || this.topDown;
  }

  /**
   * @param {number} batch B
   * @param {number} draws K
   */
  reserve(batch, draws) {
    if (batch === this.batch && draws === this.draws) return;
    this.batch = batch;
    this.draws = draws;
    const rows = batch * draws;
    const { levels, units } = this;
    /** @param {number} size */
    const each = (size) => Array.from({ length: levels }, () => new Float64Array(size));
    this.z = each(rows * units);
    this.noise = each(rows * units);
    this.rates = each(rows);
    this.reconstruction = new Float64Array(rows);
    this.rateWeight = each(rows);
    this.reconstructionWeight = new Float64Array(rows);
    this.zGradient = each(rows * units);
    this.qGradient = each(2 * rows * units);
    this.pGradient = each(2 * rows * units);
    this.xGradient = new Float64Array(rows * DATA_SIZE);
    this.beside = each(rows * (DATA_SIZE + units));
    this.logWeight = new Float64Array(draws);
  }

  /**
   * Draw ε for `trace`.
   * @param {() => number} draw
   */
  draw(draw) {
    for (const noise of this.noise) for (let i = 0; i < noise.length; i++) noise[i] = draw();
  }

  /**
   * One pass of inference with the ε at hand: fills z, q, p, reconstruction and the sampled rates.
   * @param {Float64Array} x B × 2
   */
  trace(x) {
    const { levels, units, batch, draws } = this;
    const rows = batch * draws;
    for (let i = 0; i < levels; i++) {
      const l = this.topDown ? levels - 1 - i : i;
      const encoder = /** @type {Network} */ (this.encoders[l]);
      const given = i === 0 ? x : this.topDown ? this.sideBySide(x, l) : part(this.z, l - 1);
      const q = encoder.forward(given, i === 0 ? batch : rows);
      this.q[l] = q;
      const z = part(this.z, l);
      const noise = part(this.noise, l);
      const turn = i === 0 ? batch : rows;
      for (let r = 0; r < rows; r++) {
        const row = (r % turn) * 2 * units;
        for (let j = 0; j < units; j++) {
          const at_ = r * units + j;
          z[at_] = at(q, row + j) + Math.exp(0.5 * at(q, row + units + j)) * at(noise, at_);
        }
      }
    }
    for (let l = 0; l < levels; l++) {
      const p = /** @type {Network} */ (this.decoders[l]).forward(part(this.z, l), rows);
      if (l === 0) this.mean = p;
      else this.p[l - 1] = p;
    }
    const logvar = at(this.logvar, 0);
    const precision = Math.exp(-logvar);
    for (let r = 0; r < rows; r++) {
      const b = (r % batch) * DATA_SIZE;
      let sum = 0;
      for (let j = 0; j < DATA_SIZE; j++) {
        const error = at(x, b + j) - at(this.mean, r * DATA_SIZE + j);
        sum += error * error * precision + logvar + LOG_TWO_PI;
      }
      this.reconstruction[r] = -0.5 * sum;
    }
    for (let l = 0; l < levels; l++) this.sampledRates(l);
  }

  /** @param {number} l */
  sampledRates(l) {
    const { units, batch, draws } = this;
    const rows = batch * draws;
    const turn = l === this.first ? batch : rows;
    const q = part(this.q, l);
    const z = part(this.z, l);
    const noise = part(this.noise, l);
    const p = part(this.p, l);
    const top = l === this.levels - 1;
    const rates = part(this.rates, l);
    for (let r = 0; r < rows; r++) {
      const row = (r % turn) * 2 * units;
      const above = r * 2 * units;
      let sum = 0;
      for (let j = 0; j < units; j++) {
        const e = at(noise, r * units + j);
        const logvar = top ? 0 : at(p, above + units + j);
        const error = at(z, r * units + j) - (top ? 0 : at(p, above + j));
        sum += error * error * Math.exp(-logvar) + logvar - e * e - at(q, row + units + j);
      }
      rates[r] = 0.5 * sum;
    }
  }

  /**
   * Put KL(q ‖ p), given the same z above, in place of the sampled rates.
   * @param {number} l
   */
  analyticRates(l) {
    const { units, batch, draws } = this;
    const rows = batch * draws;
    const turn = l === this.first ? batch : rows;
    const q = part(this.q, l);
    const p = part(this.p, l);
    const top = l === this.levels - 1;
    const rates = part(this.rates, l);
    for (let r = 0; r < rows; r++) {
      const row = (r % turn) * 2 * units;
      const above = r * 2 * units;
      let sum = 0;
      for (let j = 0; j < units; j++) {
        const logvar = top ? 0 : at(p, above + units + j);
        const error = at(q, row + j) - (top ? 0 : at(p, above + j));
        const narrower = at(q, row + units + j) - logvar;
        sum += error * error * Math.exp(-logvar) + Math.expm1(narrower) - narrower;
      }
      rates[r] = 0.5 * sum;
    }
  }

  /**
   * Return the loss, the batch mean of minus the objective in nats, and put its gradient in place.
   * @param {Float64Array} x B × 2
   * @param {Objective} objective
   * @returns {number}
   */
  loss(x, objective) {
    this.trace(x);
    const analytic = objective.rates === "analytic" && objective.bound === "elbo";
    if (analytic) for (let l = 0; l < this.levels; l++) this.analyticRates(l);
    const value = objective.bound === "iwae" ? this.weighIwae() : this.weighElbo(objective);
    this.backward(x, analytic);
    return -value;
  }

  /**
   * Return the mean of reconstruction − Σ_l β_l max(λ, rate_l), and set what each term weighs.
   * @param {Objective} objective
   * @returns {number}
   */
  weighElbo({ betas, freeNats }) {
    const share = 1 / this.reconstruction.length;
    this.reconstructionWeight.fill(share);
    let value = mean(this.reconstruction);
    this.rates.forEach((rates, l) => {
      const beta = betas[l] ?? 1;
      const rate = mean(rates);
      const free = freeNats > 0 && rate <= freeNats;
      value -= beta * (free ? freeNats : rate);
      part(this.rateWeight, l).fill(free ? 0 : -beta * share);
    });
    return value;
  }

  /**
   * The same for the K-sample bound, log 1/K Σ_k w_k: a draw weighs what its w_k does.
   * @returns {number}
   */
  weighIwae() {
    const { batch, draws, logWeight } = this;
    let value = 0;
    for (let b = 0; b < batch; b++) {
      let largest = -Infinity;
      for (let k = 0; k < draws; k++) {
        let log = at(this.reconstruction, k * batch + b);
        for (let l = 0; l < this.levels; l++) log -= at(part(this.rates, l), k * batch + b);
        logWeight[k] = log;
        largest = Math.max(largest, log);
      }
      let sum = 0;
      for (let k = 0; k < draws; k++) sum += Math.exp(at(logWeight, k) - largest);
      value += largest + Math.log(sum / draws);
      for (let k = 0; k < draws; k++) {
        const weight = Math.exp(at(logWeight, k) - largest) / (sum * batch);
        this.reconstructionWeight[k * batch + b] = weight;
        for (let l = 0; l < this.levels; l++) part(this.rateWeight, l)[k * batch + b] = -weight;
      }
    }
    return value / batch;
  }

  /**
   * From the weights of the terms to the gradient of the loss: decoders first, which all take z as
   * it is, then encoders, the last drawn first.
   * @param {Float64Array} x
   * @param {boolean} analytic
   */
  backward(x, analytic) {
    const { levels, units, batch, draws } = this;
    const rows = batch * draws;
    for (const gradient of this.zGradient) gradient.fill(0);
    this.backwardReconstruction(x);
    for (let l = 0; l < levels; l++) this.backwardRate(l, analytic);
    for (let l = 1; l < levels; l++) {
      const decoder = /** @type {Network} */ (this.decoders[l]);
      accumulate(part(this.zGradient, l), decoder.backward(part(this.pGradient, l - 1)));
    }
    for (let i = levels - 1; i >= 0; i--) {
      const l = this.topDown ? levels - 1 - i : i;
      this.backwardDraw(l);
      const gradient = /** @type {Network} */ (this.encoders[l]).backward(
        part(this.qGradient, l),
        i > 0,
      );
      if (i === 0) break;
      if (!this.topDown) {
        accumulate(part(this.zGradient, l - 1), gradient);
        continue;
      }
      const above = part(this.zGradient, l + 1);
      for (let r = 0; r < rows; r++) {
        for (let j = 0; j < units; j++) {
          above[r * units + j] =
            at(above, r * units + j) + at(gradient, r * (DATA_SIZE + units) + DATA_SIZE + j);
        }
      }
    }
  }

  /** @param {Float64Array} x */
  backwardReconstruction(x) {
    const { batch } = this;
    const precision = Math.exp(-at(this.logvar, 0));
    let scale = 0;
    for (let r = 0; r < this.reconstruction.length; r++) {
      const weight = -at(this.reconstructionWeight, r);
      for (let j = 0; j < DATA_SIZE; j++) {
        const i = r * DATA_SIZE + j;
        const error = at(x, (r % batch) * DATA_SIZE + j) - at(this.mean, i);
        this.xGradient[i] = weight * error * precision;
        scale += 0.5 * weight * (error * error * precision - 1);
      }
    }
    if (this.shape.learnSigma) this.gradients[this.gradients.length - 1] = scale;
    const decoder = /** @type {Network} */ (this.decoders[0]);
    accumulate(part(this.zGradient, 0), decoder.backward(this.xGradient));
  }

  /**
   * What a level's rate gives to z and to the parameters of q and p. Where z = μ + σ ε, log q(z)
   * depends on log σ² alone.
   * @param {number} l
   * @param {boolean} analytic
   */
  backwardRate(l, analytic) {
    const { units, batch, draws } = this;
    const rows = batch * draws;
    const turn = l === this.first ? batch : rows;
    const top = l === this.levels - 1;
    const q = part(this.q, l);
    const p = part(this.p, l);
    const z = part(this.z, l);
    const weights = part(this.rateWeight, l);
    const qGradient = part(this.qGradient, l);
    const pGradient = part(this.pGradient, l);
    const zGradient = part(this.zGradient, l);
    qGradient.fill(0);
    for (let r = 0; r < rows; r++) {
      const weight = -at(weights, r);
      const row = (r % turn) * 2 * units;
      const above = r * 2 * units;
      for (let j = 0; j < units; j++) {
        const i = r * units + j;
        const logvar = top ? 0 : at(p, above + units + j);
        const value = analytic ? at(q, row + j) : at(z, i);
        const error = value - (top ? 0 : at(p, above + j));
        const pull = weight * error * Math.exp(-logvar);
        const ratio = analytic ? Math.exp(at(q, row + units + j) - logvar) : 0;
        if (analytic) qGradient[row + j] = at(qGradient, row + j) + pull;
        else zGradient[i] = at(zGradient, i) + pull;
        const v = row + units + j;
        qGradient[v] = at(qGradient, v) + 0.5 * weight * (ratio - 1);
        pGradient[above + j] = -pull;
        pGradient[above + units + j] = 0.5 * (weight * (1 - ratio) - pull * error);
      }
    }
  }

  /**
   * From z = μ + σ ε to μ and log σ²; draws of one q add up.
   * @param {number} l
   */
  backwardDraw(l) {
    const { units, batch, draws } = this;
    const rows = batch * draws;
    const turn = l === this.first ? batch : rows;
    const q = part(this.q, l);
    const noise = part(this.noise, l);
    const zGradient = part(this.zGradient, l);
    const qGradient = part(this.qGradient, l);
    for (let r = 0; r < rows; r++) {
      const row = (r % turn) * 2 * units;
      for (let j = 0; j < units; j++) {
        const i = r * units + j;
        const v = row + units + j;
        const g = at(zGradient, i);
        qGradient[row + j] = at(qGradient, row + j) + g;
        qGradient[v] = at(qGradient, v) + 0.5 * g * Math.exp(0.5 * at(q, v)) * at(noise, i);
      }
    }
  }

  /**
   * What a top-down encoder is given: x and the level above, side by side.
   * @param {Float64Array} x
   * @param {number} l
   * @returns {Float64Array}
   */
  sideBySide(x, l) {
    const { units, batch } = this;
    const width = DATA_SIZE + units;
    const beside = part(this.beside, l);
    const above = part(this.z, l + 1);
    for (let r = 0; r < batch * this.draws; r++) {
      for (let j = 0; j < DATA_SIZE; j++) {
        beside[r * width + j] = at(x, (r % batch) * DATA_SIZE + j);
      }
      for (let j = 0; j < units; j++) {
        beside[r * width + DATA_SIZE + j] = at(above, r * units + j);
      }
    }
    return beside;
  }

  /**
   * The decoders as maps of rows, for all that only looks (see bounds.js).
   * @returns {{ decoders: ReturnType<typeof mlp>[], logvar: number, units: number }}
   */
  generative() {
    const decoders = this.decoders.map(({ layers }) => mlp(layers));
    return { decoders, logvar: at(this.logvar, 0), units: this.units };
  }

  /**
   * Draw from the model: z_L from the prior, then down to x.
   * @param {number} count
   * @param {() => number} draw Standard normal numbers.
   * @returns {Float64Array[]} x, z_1 … z_L, each count rows.
   */
  sample(count, draw) {
    const { decoders } = this.generative();
    const path = [Float64Array.from({ length: count * this.units }, draw)];
    for (const [l, decoder] of [...decoders.entries()].reverse()) {
      const out = decoder(/** @type {Float64Array} */ (path[0]));
      const size = l === 0 ? DATA_SIZE : this.units;
      const width = out.length / count;
      path.unshift(
        Float64Array.from({ length: count * size }, (_, i) => {
          const place = Math.floor(i / size) * width + (i % size);
          const scale = l === 0 ? this.sigma : Math.exp(0.5 * at(out, place + size));
          return at(out, place) + scale * draw();
        }),
      );
    }
    return path;
  }
}

/**
 * @param {Float64Array[]} arrays
 * @param {number} index
 * @returns {Float64Array}
 */
function part(arrays, index) {
  return /** @type {Float64Array} */ (arrays[index]);
}

/**
 * @param {Float64Array} sums
 * @param {Float64Array} terms
 */
function accumulate(sums, terms) {
  for (let i = 0; i < sums.length; i++) sums[i] = at(sums, i) + at(terms, i);
}
