/** What figures share: their state as text, and numbers from Python. */

import assert from "node:assert/strict";
import test from "node:test";

import { accepted, figure, limited } from "../../companion/live/figure.js";
import * as guess from "../../companion/live/guess.js";
import { decoded, readState, written } from "../../companion/live/mount.js";
import { Plot, shown, spaced, ticks } from "../../companion/live/plot.js";

test("a state survives its way through an address", () => {
  const state = { mean: -0.25, on: true, kind: "moons", places: [1, -2.5, 0.125], one: [3] };
  const text = new URLSearchParams({ fig: written(state) }).get("fig") ?? "";
  assert.deepEqual(readState(text), state);
  assert.equal(encodeURIComponent(written(state)), written(state));
});

test("whatever an address holds, a figure shows a state of its own", () => {
  const { spec } = figure({
    start: { mean: 0, kind: "a", on: false, places: [0, 0] },
    limits: { mean: [-1, 1], places: [-2, 2] },
    controls: [
      {
        kind: "choice",
        name: "kind",
        label: "",
        options: [
          ["a", "A"],
          ["b", "B"],
        ],
      },
    ],
    compute: () => 0,
    draw: () => [],
    says: () => "",
  });
  const bad = { mean: NaN, kind: "z", on: 1, places: [1], more: 3 };
  assert.deepEqual(accepted(spec, bad), spec.start);
  const good = { mean: 7, kind: "b", on: true, places: [1, -9] };
  assert.deepEqual(accepted(spec, good), { mean: 1, kind: "b", on: true, places: [1, -2] });
  assert.deepEqual(accepted(spec, readState("mean**kind*.a*on*2*%00")), spec.start);
});

test("what a handle or a slider sets is kept within its limits, and on its steps", () => {
  const { spec } = figure({
    start: { mean: 0, kind: "a", places: [0, 0], drawn: 3 },
    limits: { mean: [-1, 1], places: [-2, 2] },
    controls: [{ kind: "slider", name: "drawn", label: "", min: 1, max: 9, step: 2 }],
    compute: () => 0,
    draw: () => [],
    says: () => "",
  });
  assert.deepEqual(limited(spec, { mean: 7, places: [1, -9] }), { mean: 1, places: [1, -2] });
  assert.deepEqual(limited(spec, { drawn: 5.7, kind: "b" }), { drawn: 5, kind: "b" });
  assert.deepEqual(accepted(spec, { drawn: 400 }), { ...spec.start, drawn: 9 });
});

test("words beside a bar stand in order, apart, and above the floor", () => {
  assert.deepEqual(spaced([3, 2.9, 1], 0.5, 0), [3, 2.5, 1]);
  assert.deepEqual(spaced([0.2, 0.1, -4], 0.5, 0), [1, 0.5, 0]);
});

test("a guess is said in words, and judged", () => {
  /** @type {import("../../companion/live/guess.js").Guess} */
  const point = { kind: "point", question: "", label: "", start: [1, 2], truth: () => [0, 0] };
  assert.equal(guess.said(point, guess.fresh(point)), "your guess is at (1.00, 2.00)");
  assert.match(
    guess.verdict(point, guess.fresh(point), [1.3, 1.8]),
    /your guess was 0.30 too far left and 0.20 too high/,
  );
  assert.match(guess.verdict(point, guess.fresh(point), [1, 2]), /well guessed/);
  /** @type {import("../../companion/live/guess.js").Guess} */
  const number = {
    kind: "number",
    question: "",
    label: "",
    min: 1,
    max: 16,
    start: 6,
    digits: 0,
    truth: () => 6,
  };
  const own = guess.fresh(number);
  assert.match(guess.verdict(number, own, 6.4), /it was 6. Well guessed/);
  assert.match(guess.verdict(number, own, 9), /You were 3 too low/);
  own.value = [5.6];
  assert.match(guess.verdict(number, own, 8.4), /You said 6, it was 8. You were 2 too low/);
  assert.match(guess.markup(number, own, "id"), /step="1"/);
});

test("halves are the numbers that numpy writes", () => {
  const bytes = Buffer.from(
    new Uint16Array([0x3c00, 0xc000, 0x0001, 0x7bff, 0x3555, 0x7c00]).buffer,
  );
  const found = decoded({ w: { kind: "f2", shape: [2, 3], bytes: bytes.toString("base64") } });
  assert.deepEqual([...found.w], [1, -2, 2 ** -24, 65504, 0.333251953125, Infinity]);
  assert.deepEqual(found.w.shape, [2, 3]);
});

test("ticks are round, and within the range", () => {
  assert.deepEqual(
    ticks([-3, 3], 6).map(({ text }) => text),
    ["−3", "−2", "−1", "0", "1", "2", "3"],
  );
  assert.deepEqual(
    ticks([0, 0.31], 4).map(({ text }) => text),
    ["0.0", "0.1", "0.2", "0.3"],
  );
  assert.equal(shown(-0.001), "0.00");
  assert.equal(shown(-Infinity), "−∞");
});

test("a place in a panel is where its pixels say", () => {
  const plot = new Plot({ x: [-2, 4], y: [0, 1], width: 300, height: 200, equal: true });
  const [x, y] = plot.place(plot.across(1.5), plot.down(0.25));
  assert.ok(Math.abs(x - 1.5) < 1e-12 && Math.abs(y - 0.25) < 1e-12);
  assert.ok(Math.abs(plot.across(1) - plot.across(0) - (plot.down(0) - plot.down(1))) < 1e-9);
});
