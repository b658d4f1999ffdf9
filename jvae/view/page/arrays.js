"use strict";
// Arrays: unpacking, and 16-bit numbers.

const DTYPES = {
  float16: Uint16Array, float32: Float32Array, float64: Float64Array, int32: Int32Array, uint8: Uint8Array,
};

/** Unpack an array of jvae.view.weights.packed: its numbers, row by row, and its shape. */
async function unpack({ dtype, shape, data }) {
  const text = atob(data);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const inflated = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const numbers = new DTYPES[dtype](await new Response(inflated).arrayBuffer());
  return { shape, numbers: dtype === "float16" ? fromFloat16(numbers) : numbers };
}

/** The values of all 16-bit floats: a sign, 5 bits of exponent and 10 of fraction. */
const FLOAT16 = Float32Array.from({ length: 2 ** 16 }, (_, bits) => {
  const exponent = (bits >> 10) & 31, fraction = bits & 1023, sign = bits & 0x8000 ? -1 : 1;
  return sign * (exponent ? 2 ** (exponent - 25) * (1024 + fraction) : 2 ** -24 * fraction);
});

/** The numbers in packed bytes. */
function fromFloat16(bits) {
  const numbers = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) numbers[i] = FLOAT16[bits[i]];
  return numbers;
}

/** Round numbers to bfloat16, ties to even, as the operands of a product. */
function roundToBfloat16(numbers) {
  const rounded = Float32Array.from(numbers);
  const bits = new Uint32Array(rounded.buffer);
  for (let i = 0; i < bits.length; i++) bits[i] = (bits[i] + 0x7fff + ((bits[i] >>> 16) & 1)) & 0xffff0000;
  return rounded;
}

/** The transpose of x[rows, columns]. */
function transposed(x, rows) {
  const y = new Float32Array(x.length), columns = x.length / rows;
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) y[c * rows + r] = x[r * columns + c];
  return y;
}

/** The first rows and columns of an image, channels last. */
function crop(x, columns, [height, width, channels]) {
  const y = new Float32Array(height * width * channels);
  for (let r = 0; r < height; r++) {
    y.set(x.subarray(r * columns * channels, (r * columns + width) * channels), r * width * channels);
  }
  return y;
}

/** The largest difference between the numbers of two arrays. */
const apart = (ours, theirs) => ours.reduce((most, value, i) => Math.max(most, Math.abs(value - theirs[i])), 0);
