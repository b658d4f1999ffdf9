"use strict";
// Strokes: a drawing as pixels. A drawing is a list of marks, in pixels of the image from its top left
// corner: {points, erases}, a path of the pen or the eraser, or {image}, numbers in [0, 1] that replace earlier marks.

const ERASER = 2; // the eraser's width, in widths of the pen
const FINER = 4; // the ink is measured on a grid this much finer than the image
const LARGEST = 4; // the largest scale: a dot is not enlarged to a whole box

/** The placement of marks: (x, y) -> scale * (x, y) + shift. */
const AS_DRAWN = { scale: 1, shift: [0, 0] };

/** Render marks to height x width numbers in [0, 1], with a pen's width in pixels of the result, placed by `lay`. */
function render(marks, [height, width], pen, lay = AS_DRAWN) {
  const pixels = new Float32Array(height * width);
  for (const { image, points, erases } of marks) {
    if (image) layImage(pixels, [height, width], image, lay);
    else layPath(pixels, [height, width], points.map(([x, y]) => laid(x, y, lay)), erases ? ERASER * pen : pen, erases);
  }
  return pixels;
}

const laid = (x, y, { scale, shift }) => [scale * x + shift[0], scale * y + shift[1]];

/** Replace all ink by an image, interpolated between its pixels. */
function layImage(pixels, [height, width], { numbers, shape }, { scale, shift }) {
  const at = (r, c) => (r < 0 || c < 0 || r >= shape[0] || c >= shape[1] ? 0 : numbers[r * shape[1] + c]);
  for (let r = 0; r < height; r++) for (let c = 0; c < width; c++) {
    const y = (r + 0.5 - shift[1]) / scale - 0.5, x = (c + 0.5 - shift[0]) / scale - 0.5;
    const i = Math.floor(y), j = Math.floor(x), t = y - i, s = x - j;
    pixels[r * width + c] = (1 - t) * ((1 - s) * at(i, j) + s * at(i, j + 1)) +
      t * ((1 - s) * at(i + 1, j) + s * at(i + 1, j + 1));
  }
}

/** Draw a path of a width: a pixel's ink depends on the distance of its middle to the edge, smooth over one pixel. */
function layPath(pixels, [height, width], points, pen, erases) {
  points.forEach(([x1, y1], number) => {
    const [x0, y0] = points[Math.max(0, number - 1)], reach = pen / 2 + 0.5, square = (x1 - x0) ** 2 + (y1 - y0) ** 2;
    const first = (a, b) => Math.max(0, Math.floor(Math.min(a, b) - reach));
    const last = (a, b, size) => Math.min(size - 1, Math.ceil(Math.max(a, b) + reach));
    for (let r = first(y0, y1); r <= last(y0, y1, height); r++) {
      for (let c = first(x0, x1); c <= last(x0, x1, width); c++) {
        const x = c + 0.5 - x0, y = r + 0.5 - y0;
        const along = square && Math.min(1, Math.max(0, (x * (x1 - x0) + y * (y1 - y0)) / square));
        const apart = Math.hypot(x - along * (x1 - x0), y - along * (y1 - y0));
        const ink = Math.min(1, Math.max(0, reach - apart)), p = r * width + c;
        pixels[p] = erases ? Math.min(pixels[p], 1 - ink) : Math.max(pixels[p], ink);
      }
    }
  });
}

/** The ink's bounding box, [left, right] and [top, bottom], and its centre of mass; undefined if there is no ink. */
function measure(pixels, [height, width]) {
  let mass = 0, x = 0, y = 0, left = width, right = 0, top = height, bottom = 0;
  for (let r = 0; r < height; r++) for (let c = 0; c < width; c++) {
    const ink = pixels[r * width + c];
    [mass, x, y] = [mass + ink, x + ink * (c + 0.5), y + ink * (r + 0.5)];
    if (ink < 0.5) continue;
    [left, right] = [Math.min(left, c), Math.max(right, c + 1)];
    [top, bottom] = [Math.min(top, r), Math.max(bottom, r + 1)];
  }
  return right > 0 ? { across: [left, right], down: [top, bottom], middle: [x / mass, y / mass] } : undefined;
}

/**
 * Render marks with the placement of the data set's images: scaled so that the longer side of the ink's bounding box is
 * `box` pixels, with the centre of mass at `middle`. The pen keeps its width at any scale.
 */
function renderCentred(marks, shape, pen, { box, middle }) {
  const fine = shape.map((side) => FINER * side);
  const ink = measure(render(marks, fine, FINER * pen, { scale: FINER, shift: [0, 0] }), fine);
  if (!ink) return new Float32Array(shape[0] * shape[1]);
  const side = Math.max(ink.across[1] - ink.across[0], ink.down[1] - ink.down[0]) / FINER;
  const scale = Math.min(LARGEST, Math.max(0, box - pen) / Math.max(side - pen, 1e-3));
  const centre = [ink.across, ink.down].map(([low, high]) => (low + high) / 2 / FINER);
  const inBox = [shape[1], shape[0]].map((length, i) => length / 2 - scale * centre[i]);
  const mass = measure(render(marks, shape, pen, { scale, shift: inBox }), shape)?.middle ?? middle;
  return render(marks, shape, pen, { scale, shift: inBox.map((shift, i) => shift + middle[i] - mass[i]) });
}
