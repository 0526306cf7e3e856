/** Pictures of 8 × 8 grey levels: the nearest of many, and many on a plane of codes. */

const SIDE = 8;
const SIZE = SIDE * SIDE;

/**
 * The nearest of the pictures, and its Euclidean distance.
 *
 * @param {ArrayLike<number>} pictures  one after the other, in sixteenths
 * @param {ArrayLike<number>} picture
 */
export function nearest(pictures, picture) {
  let [index, least] = [0, Infinity];
  for (let n = 0; n * SIZE < pictures.length; n++) {
    let square = 0;
    for (let i = 0; i < SIZE; i++) {
      const off = (pictures[n * SIZE + i] ?? 0) / 16 - (picture[i] ?? 0);
      square += off * off;
    }
    if (square < least) [index, least] = [n, square];
  }
  return { index, distance: Math.sqrt(least) };
}

/**
 * One of the pictures.
 *
 * @param {ArrayLike<number>} pictures  in sixteenths
 * @param {number} index
 */
export function picked(pictures, index) {
  return Float64Array.from({ length: SIZE }, (_, i) => (pictures[index * SIZE + i] ?? 0) / 16);
}

/**
 * A square of the plane with pictures where their codes lie, as many as fit without touching.
 *
 * @param {ArrayLike<number>} pictures  in sixteenths
 * @param {(index: number) => [number, number]} code  of each
 * @param {number} limit  half the square's side
 * @param {number} columns  of its pixels; a pixel of a picture takes two
 */
export function scattered(pictures, code, limit, columns) {
  const ink = new Float32Array(columns * columns);
  const unit = columns / (2 * limit);
  /** @type {[number, number][]} */
  const taken = [];
  const width = 2 * SIDE;
  for (let n = 0; n * SIZE < pictures.length; n++) {
    const [x, y] = code(n);
    const left = Math.round((x + limit) * unit) - SIDE;
    const top = Math.round((limit - y) * unit) - SIDE;
    if (Math.min(left, top) < 0 || Math.max(left, top) > columns - width) continue;
    const free = taken.every(([l, t]) => Math.max(Math.abs(l - left), Math.abs(t - top)) >= width);
    if (!free) continue;
    taken.push([left, top]);
    for (let row = 0; row < width; row++) {
      for (let column = 0; column < width; column++) {
        ink[(top + row) * columns + left + column] =
          (pictures[n * SIZE + (row >> 1) * SIDE + (column >> 1)] ?? 0) / 16;
      }
    }
  }
  return ink;
}

/**
 * A square of the plane, tiled with what is decoded at the middle of each tile.
 *
 * @param {(code: [number, number]) => ArrayLike<number>} decode
 * @param {number} limit
 * @param {number} tiles  along a side
 */
export function mosaic(decode, limit, tiles) {
  const columns = tiles * SIDE;
  const ink = new Float32Array(columns * columns);
  for (let row = 0; row < tiles; row++) {
    for (let column = 0; column < tiles; column++) {
      const place = (/** @type {number} */ k) => ((2 * k + 1) / tiles - 1) * limit;
      const picture = decode([place(column), -place(row)]);
      for (let i = 0; i < SIZE; i++) {
        const at = (row * SIDE + Math.floor(i / SIDE)) * columns + column * SIDE + (i % SIDE);
        ink[at] = picture[i] ?? 0;
      }
    }
  }
  return ink;
}
