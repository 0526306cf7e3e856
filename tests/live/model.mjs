// Answers the Python tests: reads a list of questions as JSON, writes a list of answers. In JSON a
// typed array becomes a list.

import { readFileSync } from "node:fs";

import { answer } from "./answers.mjs";

const text = JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(answer), (_, value) =>
  ArrayBuffer.isView(value) ? Array.from(/** @type {Float64Array} */ (value)) : value,
);
process.stdout.write(text);
