// @ts-check
"use strict";

// Asks the page's script for verdicts: reads [[rows, text], …] as JSON, writes a list of sentences.
// The script is a classic one, so its functions are properties of the global object it runs in.

const { readFileSync } = require("node:fs");
const { join } = require("node:path");
const { createContext, runInContext } = require("node:vm");

const page = createContext({});
runInContext(readFileSync(join(__dirname, "../../book/_static/answers.js"), "utf8"), page);

/** @type {[unknown, string][]} */
const asked = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(
  JSON.stringify(asked.map(([rows, text]) => (rows ? page.verdict(rows, text) : page.read(text)))),
);
