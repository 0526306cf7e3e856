// The race of chapter 10 where it needs no page: clusters, the worker's loop, and what recipes do.

import assert from "node:assert/strict";
import { test } from "node:test";

import { dataSet, node } from "../../companion/live/playground/data.js";
import { CHANCE, Race, STEPS, clusters, serve } from "../../companion/live/playground/race.js";
import { settled, verdict } from "../../companion/live/figures/race.js";

const PLAIN = { encoder: "bottom-up", weights: "at once", free: "0" };

test("clusters are those that the tree was drawn from", () => {
  for (const a of [0, 1, 2]) {
    for (const b of [0, 1, 2]) {
      for (const c of [0, 1, 2]) {
        const [x, y] = node([a, b, c]);
        assert.deepEqual(clusters([x + 0.05, y - 0.05]), [a]);
      }
    }
  }
  const found = clusters(dataSet("tree", 3000));
  for (const k of [0, 1, 2]) {
    const share = found.filter((one) => one === k).length / 3000;
    assert.ok(Math.abs(share - CHANCE) < 0.03, String(share));
  }
});

test("weights rise as the recipe says, and the same seed gives the same run", () => {
  const betas = (/** @type {string} */ weights, /** @type {number} */ steps) => {
    const race = new Race({ ...PLAIN, weights }, 100);
    for (let i = 0; i < steps; i++) race.step();
    return race.trainer.betas.map((beta) => Math.round(100 * beta) / 100);
  };
  assert.deepEqual(betas("at once", 5), [1, 1, 1]);
  assert.deepEqual(betas("warm-up", 30), [0.5, 0.5, 0.5]);
  assert.deepEqual(betas("warm-up", 60), [1, 1, 1]);
  assert.deepEqual(betas("level by level", 10), [0.5, 0, 0]);
  assert.deepEqual(betas("level by level", 30), [1, 0.5, 0]);
  assert.deepEqual(betas("level by level", 50), [1, 1, 0.5]);
  const [one, same, other] = [3, 3, 4].map((seed) => {
    const race = new Race({ ...PLAIN, seed }, 20);
    while (!race.over) race.step();
    return race.look();
  });
  assert.deepEqual(one, same);
  assert.notDeepEqual(one?.share, other?.share);
});

test("the worker looks, rests, goes on, and ends with the last look", async () => {
  /** @type {any[]} */
  const heard = [];
  /** @type {(event: any) => void} */
  let order = () => {};
  const until = async (/** @type {() => boolean} */ what) => {
    while (!what()) await new Promise((done) => setTimeout(done, 5));
  };
  const end = serve({
    postMessage(message) {
      heard.push(message);
      // At once: node hears a port again and again before it lets anything else have a turn.
      if (heard.length === 2) order({ data: { type: "pause" } });
    },
    addEventListener: (_, listener) => (order = listener),
  });
  const start = { type: "start", recipe: PLAIN, every: 50, steps: 400 };
  order({ data: { ...start, id: 7 } });
  await until(() => heard.length >= 2);
  await new Promise((done) => setTimeout(done, 100));
  assert.equal(heard.length, 2);
  assert.notEqual(heard[1].type, "done");
  order({ data: { type: "go" } });
  await until(() => heard[heard.length - 1].type === "done");
  assert.equal(heard[0].look.step, 0);
  assert.equal(heard[heard.length - 1].look.step, 400);
  assert.ok(heard.every(({ id }) => id === 7));
  // A run that is given up says nothing more.
  order({ data: { ...start, id: 8 } });
  order({ data: { type: "end" } });
  const after = heard.length;
  await new Promise((done) => setTimeout(done, 100));
  assert.equal(heard.length, after);
  end();
});

test("the plain recipe lets z_3 sleep; free nats wake it, and level by level still more", () => {
  const [plain, free, level] = [
    PLAIN,
    { ...PLAIN, free: "1" },
    { ...PLAIN, weights: "level by level" },
  ].map((recipe) => {
    const race = new Race(recipe);
    while (!race.over) race.step();
    return race.result();
  });
  assert.ok(plain && free && level);
  assert.equal(plain.step, STEPS);
  const [asleep = NaN, awake = NaN, most = NaN] = [plain, free, level].map(({ share }) => share[2]);
  assert.ok(Math.abs(asleep - CHANCE) < 0.05, String(asleep));
  assert.ok(awake > 0.55, String(awake));
  assert.ok(most > 0.85 && most > awake, String(most));
  assert.match(
    verdict(plain),
    /^z₃ sleeps: .* in 3\d\s% of the draws, as chance does\. Its rate is 0\.0/,
  );
  assert.match(verdict(level), /^z₃ is awake: .* in 9\d\s% of the draws, chance in 33\s%\./);
  // What woke it was not a better bound.
  assert.ok(level.elbo < free.elbo);
});

test("a bet is settled by the means of the stored runs", () => {
  const stored = {
    "top-down": [0.3, 0.4],
    "warm-up": [0.2, 0.2],
    "level by level": [0.9, 1],
    "1 free nat": [0.7, 0.7],
  };
  assert.match(
    settled(stored, "level by level"),
    /^Yes: .* level by level 95\s%, 1 free nat 70\s%/,
  );
  assert.match(settled(stored, "warm-up"), /^No, it is “level by level”/);
});
