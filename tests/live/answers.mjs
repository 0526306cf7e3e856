// @ts-check
// What the Python tests ask of the playground's modules, in node or in the browser.

import {
  elboOnGrid,
  energyDistance,
  finish,
  logAggregate,
  logMarginals,
  onGrid,
} from "../../companion/live/bounds.js";
import { dataSet } from "../../companion/live/playground/data.js";
import { mlp } from "../../companion/live/nn.js";
import { Model } from "../../companion/live/playground/models.js";
import { Race } from "../../companion/live/playground/race.js";
import { generator, normal } from "../../companion/live/random.js";

/** @typedef {import("../../companion/live/playground/data.js").Name} Name */
/** @typedef {import("../../companion/live/playground/models.js").Shape} Shape */
/** @typedef {import("../../companion/live/playground/models.js").Objective} Objective */

/**
 * @param {{ shape: Shape, parameters: number[] }} question
 * @returns {Model}
 */
function build({ shape, parameters }) {
  const model = new Model(shape);
  if (parameters.length !== model.parameters.length) {
    throw new Error(`${parameters.length} parameters for ${model.parameters.length}`);
  }
  model.parameters.set(parameters);
  return model;
}

const kinds = {
  /**
   * The loss with these ε, z_1's first, and its gradient; and the terms that it is made of.
   * @param {{ shape: Shape, parameters: number[], x: number[], noise: number[][], draws: number,
   *   objective: Objective }} question
   */
  loss(question) {
    const model = build(question);
    model.reserve(question.x.length / 2, question.draws);
    question.noise.forEach((noise, l) => model.noise[l]?.set(noise));
    const loss = model.loss(Float64Array.from(question.x), question.objective);
    return {
      loss,
      gradients: model.gradients,
      reconstruction: model.reconstruction,
      rates: model.rates,
    };
  },

  /**
   * log p(x) on a grid, and with one level the parts of the ELBO on another.
   * @param {{ shape: Shape, parameters: number[], x: number[], points: number, bound?: number }}
   *   question
   */
  grid(question) {
    const model = build(question);
    const x = Float64Array.from(question.x);
    const generative = model.generative();
    const found = finish(logMarginals(finish(onGrid(generative, question)), x));
    if (model.levels > 1) return { found };
    const q = mlp(model.encoders[0]?.layers ?? [])(x);
    return { found, q, ...finish(elboOnGrid(generative, q, x)) };
  },

  /** @param {{ q: number[], z: number[], units: number }} question */
  aggregate({ q, z, units }) {
    return finish(logAggregate(Float64Array.from(q), Float64Array.from(z), units));
  },

  /** @param {{ name: Name, count: number }} question */
  data({ name, count }) {
    return dataSet(name, count);
  },

  /**
   * A look at a race after some steps, and all that it was computed from.
   * @param {{ recipe: import("../../companion/live/playground/race.js").Recipe, steps: number,
   *   points: number }} question
   */
  race({ recipe, steps, points }) {
    const race = new Race(recipe, steps);
    while (!race.over) race.step();
    const look = race.look(points);
    const { parameters, noise, sigma } = race.trainer.twin;
    const draw = normal(generator(3));
    const redrawn = Float64Array.from({ length: 6 * (noise[0]?.length ?? 0) }, draw);
    const x = race.trainer.heldOut.slice(0, 2 * points);
    return { ...look, parameters, noise, sigma, redrawn, x };
  },

  /** @param {{ x: number[], y: number[] }} question */
  energy({ x, y }) {
    return finish(energyDistance(Float64Array.from(x), Float64Array.from(y)));
  },
};

/**
 * @param {{ ask: keyof typeof kinds } & any} question
 * @returns {unknown}
 */
export function answer(question) {
  return kinds[/** @type {keyof typeof kinds} */ (question.ask)](question);
}
