/** What figures share: their state as text, and numbers from Python. */

import assert from "node:assert/strict";
import test from "node:test";

import { accepted, figure } from "../../companion/live/figure.js";
import { decoded, readState, written } from "../../companion/live/mount.js";
import { Plot, shown, ticks } from "../../companion/live/plot.js";

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
    controls: [{ kind: "choice", name: "kind", label: "", options: [["a", "A"], ["b", "B"]] }],
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

test("halves are the numbers that numpy writes", () => {
  const bytes = Buffer.from(new Uint16Array([0x3c00, 0xc000, 0x0001, 0x7bff, 0x3555, 0x7c00]).buffer);
  const found = decoded({ w: { kind: "f2", shape: [2, 3], bytes: bytes.toString("base64") } });
  assert.deepEqual([...found.w], [1, -2, 2 ** -24, 65504, 0.333251953125, Infinity]);
  assert.deepEqual(found.w.shape, [2, 3]);
});

test("ticks are round, and within the range", () => {
  assert.deepEqual(ticks([-3, 3], 6).map(({ text }) => text), ["−3", "−2", "−1", "0", "1", "2", "3"]);
  assert.deepEqual(ticks([0, 0.31], 4).map(({ text }) => text), ["0.0", "0.1", "0.2", "0.3"]);
  assert.equal(shown(-0.001), "0.00");
  assert.equal(shown(-Infinity), "−∞");
});

test("a place in a panel is where its pixels say", () => {
  const plot = new Plot({ x: [-2, 4], y: [0, 1], width: 300, height: 200, equal: true });
  const [x, y] = plot.place(plot.across(1.5), plot.down(0.25));
  assert.ok(Math.abs(x - 1.5) < 1e-12 && Math.abs(y - 0.25) < 1e-12);
  assert.ok(Math.abs(plot.across(1) - plot.across(0) - (plot.down(0) - plot.down(1))) < 1e-9);
});
