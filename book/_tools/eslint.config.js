// The scripts of the pages are classic scripts, so that the site works from file:// too; the tests
// and tools run in node.
const js = require("@eslint/js");
const globals = require("globals");

module.exports = [
  js.configs.recommended,
  {
    rules: { eqeqeq: "error", "no-eval": "error", "no-implied-eval": "error", "no-var": "error" },
    linterOptions: { reportUnusedDisableDirectives: "error" },
  },
  {
    files: ["book/_static/**/*.js"],
    languageOptions: { sourceType: "script", globals: globals.browser },
  },
  {
    files: ["book/_tools/*.js", "tests/js/*.js"],
    languageOptions: { sourceType: "commonjs", globals: globals.node },
  },
  {
    files: ["book/_tools/*.mjs", "tests/live/*.mjs"],
    languageOptions: { sourceType: "module", globals: globals.node },
  },
  {
    files: ["companion/live/**/*.js"],
    languageOptions: { sourceType: "module", globals: globals.browser },
  },
];
