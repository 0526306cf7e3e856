// @ts-check
/**
 * Draw figures that compute as they stand before anybody moved them: for print, for readers without
 * script, and so that nothing on a page moves when the script comes.
 *
 * Standard input holds a JSON list of [name, id, data]; standard output gets the HTML of each.
 * `book/_ext/figures.py` asks.
 */

import { readFileSync } from "node:fs";
import { crc32, deflateSync } from "node:zlib";

import { decoded } from "../../companion/live/mount.js";
import { escaped } from "../../companion/live/plot.js";

/** @typedef {import("../../companion/live/plot.js").Pixels} Pixels */

/**
 * A part of a PNG.
 *
 * @param {string} type
 * @param {Buffer} data
 */
function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type), data]);
  const ends = Buffer.alloc(8);
  ends.writeUInt32BE(data.length, 0);
  ends.writeUInt32BE(crc32(body), 4);
  return Buffer.concat([ends.subarray(0, 4), body, ends.subarray(4)]);
}

/**
 * Pixels as a picture: a mask for the ink of their role, so that light and dark need nothing.
 *
 * @param {Pixels} pixels
 */
function picture({ alpha, columns, rows, role }) {
  const lines = Buffer.alloc(rows * (2 * columns + 1));
  for (let i = 0; i < alpha.length; i++) {
    const at = Math.floor(i / columns) * (2 * columns + 1) + 2 * (i % columns) + 2;
    lines[at] = 255 * Math.min(Math.max(alpha[i] ?? 0, 0), 1);
  }
  const head = Buffer.alloc(13);
  head.writeUInt32BE(columns, 0);
  head.writeUInt32BE(rows, 4);
  // Eight bits of grey and eight of opacity.
  head.set([8, 4], 8);
  const png = Buffer.concat([
    Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]),
    chunk("IHDR", head),
    chunk("IDAT", deflateSync(lines, { level: 9 })),
    chunk("IEND", Buffer.alloc(0)),
  ]);
  const ink = role === "ink" ? "currentColor" : `var(--fig-${role})`;
  const mask = escaped(`url(data:image/png;base64,${png.toString("base64")}) 0 0 / 100% 100%`);
  return `<div class="live-mask" style="background:${ink};mask:${mask}"></div>`;
}

/** @type {[string, string, any][]} */
const asked = JSON.parse(readFileSync(0, "utf8"));
const made = [];
for (const [name, id, data] of asked) {
  const module = await import(`../../companion/live/figures/${name}.js`);
  /** @type {{spec: import("../../companion/live/figure.js").Spec, frame: Function}} */
  const { spec, frame } = module.default;
  const given = decoded(data);
  made.push(frame(spec.prepare ? spec.prepare(given) : given, id, picture));
}
process.stdout.write(JSON.stringify(made));
