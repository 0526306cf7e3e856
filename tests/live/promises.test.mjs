// What the playground's page tells its readers to try comes true, whatever the seed.

import assert from "node:assert/strict";
import { test } from "node:test";

import { finish } from "../../companion/live/bounds.js";
import { sum } from "../../companion/live/numbers.js";
import { CHALLENGES } from "../../companion/live/playground/challenges.js";
import { Trainer } from "../../companion/live/playground/training.js";

const SEEDS = [0, 1, 2];

/** @param {Trainer} trainer */
const measured = (trainer) => {
  const { elbo, logMarginal, gap } = finish(trainer.bounds());
  assert.ok(logMarginal !== null && gap !== null);
  return { elbo, logMarginal, gap };
};

for (const seed of SEEDS) {
  test(`seed ${seed}: the encoder alone, the decoder alone, the encoder again`, () => {
    const trainer = new Trainer({ seed, train: "encoder" });
    const before = measured(trainer);
    trainer.step(800);
    const encoded = measured(trainer);
    // The flat line, and the climb.
    assert.ok(Math.abs(encoded.logMarginal - before.logMarginal) < 1e-4);
    assert.ok(encoded.elbo > before.elbo + 0.1);
    assert.ok(encoded.gap < 0.3 * before.gap);
    trainer.set({ train: "decoder" });
    trainer.step(800);
    const decoded = measured(trainer);
    assert.ok(decoded.logMarginal > encoded.logMarginal + 5);
    assert.ok(decoded.gap > 1.5 * encoded.gap);
    trainer.set({ train: "encoder" });
    trainer.step(800);
    const again = measured(trainer);
    assert.ok(Math.abs(again.logMarginal - decoded.logMarginal) < 1e-3);
    assert.ok(again.gap < 0.4 * decoded.gap);
  });

  test(`seed ${seed}: of both, a gap of about 0.2 nats is left that the encoder cannot close`, () => {
    const trainer = new Trainer({ seed });
    trainer.step(3000);
    const both = measured(trainer);
    assert.ok(both.gap > 0.12 && both.gap < 0.3, String(both.gap));
    trainer.set({ train: "encoder" });
    trainer.step(1000);
    const alone = measured(trainer);
    assert.ok(alone.gap > 0.1, String(alone.gap));
  });

  test(`seed ${seed}: along β the rate falls, the distortion rises, the ELBO is best at one`, () => {
    const trainer = new Trainer({ seed, learnSigma: false });
    const found = [1, 0.2, 5].map((beta) => {
      trainer.set({ beta });
      trainer.step(1500);
      const { rates, distortion, elbo } = trainer.view();
      return { rate: sum(rates), distortion, elbo };
    });
    const [one, weak, strong] = found;
    assert.ok(one && strong && weak);
    assert.ok(strong.rate < one.rate && one.rate < weak.rate);
    assert.ok(strong.distortion > one.distortion && one.distortion > weak.distortion);
    assert.ok(one.elbo > strong.elbo && one.elbo > weak.elbo);
  });

  for (const recipe of /** @type {const} */ ([
    { freeNats: 1 },
    { warmUp: 2000, warming: "level by level" },
  ])) {
    test(`seed ${seed}: three levels, and ${Object.keys(recipe)[0]} wakes the third`, () => {
      const idle = new Trainer({ seed, data: "tree", levels: 3 });
      idle.step(3000);
      const woken = new Trainer({ seed, data: "tree", levels: 3, ...recipe });
      woken.step(3000);
      const told = [idle, woken].map((trainer) => finish(trainer.bounds()).information[2] ?? NaN);
      assert.ok((told[0] ?? 1) < 0.05, `idle: ${told[0]}`);
      assert.ok((told[1] ?? 0) > 0.5, `woken: ${told[1]}`);
    });
  }

  test(`seed ${seed}: the lower ELBO and the better samples come by many draws, not by chance`, () => {
    const challenge = CHALLENGES.find(({ title }) => title === "A lower ELBO and better samples");
    assert.ok(challenge);
    /** @param {Trainer} trainer */
    const seen = (trainer) => ({
      view: trainer.view(),
      bounds: finish(trainer.bounds()),
      options: trainer.options,
    });
    /** @param {ReturnType<typeof seen>} now @param {ReturnType<typeof seen>} then */
    const verdict = (now, then) =>
      challenge.verdict(/** @type {any} */ ({ ...now, kept: { data: "tree", ...then } }));

    const plain = new Trainer({ seed, data: "tree" });
    plain.step(2000);
    const met = [seen(plain)];
    // Late and often: the noise of training is what might win.
    for (plain.step(2500); plain.steps <= 6500; plain.step(100)) {
      const now = seen(plain);
      for (const then of met) {
        const { won, says } = verdict(now, then);
        assert.ok(!won, `${then.bounds.step} to ${now.bounds.step}: ${says}`);
      }
      met.push(now);
    }
    const many = new Trainer({ seed, data: "tree", bound: "iwae", draws: 20 });
    many.step(2000);
    const [first] = met;
    assert.ok(first);
    const { won, says } = verdict(seen(many), first);
    assert.ok(won, says);
  });
}
