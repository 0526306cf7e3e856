/** A module's loop in a worker; where none can be made, on the page itself. */

/**
 * @typedef {{postMessage: (message: any) => void,
 *   addEventListener: (type: "message", hear: (event: {data: any}) => void) => void}} Scope
 */

/**
 * Start the `serve` of a module.
 *
 * @param {string} module  its path in the folder of the figures' modules
 * @param {(scope: Scope) => unknown} serve  what the module exports by this name
 * @returns {{post: (order: any) => void, hear: ((message: any) => void)[], end: () => void}}
 *   hear: who is told of its messages
 */
export function background(module, serve) {
  /** @type {((message: any) => void)[]} */
  const listeners = [];
  const hear = (/** @type {any} */ message) => listeners.forEach((listener) => listener(message));
  try {
    const { live } = /** @type {any} */ (globalThis);
    const text = `${live.source()}live.require("${module}").serve(self);`;
    const address = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
    const worker = new Worker(address);
    worker.addEventListener("message", ({ data }) => hear(data));
    return {
      post: (order) => worker.postMessage(order),
      hear: listeners,
      end: () => worker.terminate(),
    };
  } catch {
    /** @type {(event: {data: any}) => void} */
    let order = () => {};
    serve({
      postMessage: (message) => queueMicrotask(() => hear(message)),
      addEventListener: (_, listener) => {
        order = listener;
      },
    });
    return { post: (data) => order({ data }), hear: listeners, end: () => {} };
  }
}
