"use strict";
// The decoder: z -> the mean of p(x|z), as jvae.networks and jvae.distributions compute it.

const DTYPES = { float32: Float32Array, float64: Float64Array, int32: Int32Array, uint8: Uint8Array };

/** The array that jvae.explorer.packed has packed: its numbers, row by row, and its shape. */
async function unpack({ dtype, shape, data }) {
  const text = atob(data);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const inflated = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return { shape, numbers: new DTYPES[dtype](await new Response(inflated).arrayBuffer()) };
}

/** Round numbers to what bfloat16 holds, to even where there are two nearest: the operands of a product. */
function roundToBfloat16(numbers) {
  const rounded = Float32Array.from(numbers);
  const bits = new Uint32Array(rounded.buffer);
  for (let i = 0; i < bits.length; i++) bits[i] = (bits[i] + 0x7fff + ((bits[i] >>> 16) & 1)) & 0xffff0000;
  return rounded;
}

/** y = x @ kernel + bias. */
function linear(x, kernel, bias) {
  const y = Float32Array.from(bias), width = y.length;
  for (let i = 0; i < x.length; i++) {
    const value = x[i];
    if (value === 0) continue; // many are, after a ReLU
    for (let j = 0, k = i * width; j < width; j++, k++) y[j] += value * kernel[k];
  }
  return y;
}

/**
 * Double an image of height x width pixels, channels last: every pixel adds to 4x4 outputs. The kernel has the axes
 * row, column, channel, feature; it has stride 2 and padding 1.
 */
function convTranspose(x, height, width, kernel, bias, channels) {
  const features = bias.length, rows = 2 * height, columns = 2 * width;
  const y = new Float32Array(rows * columns * features);
  for (let i = 0; i < y.length; i++) y[i] = bias[i % features];
  for (let r = 0; r < height; r++) for (let s = 0; s < width; s++) {
    for (let i = Math.max(0, 1 - 2 * r); i < 4 && 2 * r + i - 1 < rows; i++) {
      for (let j = Math.max(0, 1 - 2 * s); j < 4 && 2 * s + j - 1 < columns; j++) {
        const to = ((2 * r + i - 1) * columns + 2 * s + j - 1) * features;
        for (let c = 0; c < channels; c++) {
          const value = x[(r * width + s) * channels + c];
          if (value === 0) continue;
          const from = ((i * 4 + j) * channels + c) * features;
          for (let f = 0; f < features; f++) y[to + f] += value * kernel[from + f];
        }
      }
    }
  }
  return y;
}

/** [channels, pixels] as [pixels, channels]. */
function channelsLast(x, channels) {
  const y = new Float32Array(x.length), pixels = x.length / channels;
  for (let c = 0; c < channels; c++) for (let p = 0; p < pixels; p++) y[p * channels + c] = x[c * pixels + p];
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

const ACTIVATIONS = {
  relu: (x) => Math.max(x, 0),
  tanh: (x) => Math.tanh(x),
  gelu: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  elu: (x) => (x > 0 ? x : Math.expm1(x)),
  "leaky-relu": (x) => (x > 0 ? x : 0.01 * x),
  silu: (x) => x / (1 + Math.exp(-x)),
};

const MEANS = {
  bernoulli: (logit) => 1 / (1 + Math.exp(-logit)),
  gaussian: (loc) => loc,
  "continuous-bernoulli": (logit) => {
    const square = logit * logit;
    if (square < 0.01) return 0.5 + logit * (1 / 12 - square * (1 / 720 - square / 30240));
    return 1 / (1 - Math.exp(-logit)) - 1 / logit;
  },
};

/** The function z -> mean of p(x|z), rows x columns x channels numbers, of what jvae.explorer.decoder_data says. */
async function makeDecoder({ layers, activation, start, shape, output, bf16 }) {
  const ready = await Promise.all(layers.map(async (layer) => {
    const [kernel, bias] = await Promise.all([unpack(layer.kernel), unpack(layer.bias)]);
    return { kernel: kernel.numbers, bias: bias.numbers, axes: kernel.shape };
  }));
  return function decode(z) {
    let x = Float32Array.from(z), [height, width] = start, convolved = false;
    ready.forEach(({ kernel, bias, axes }, number) => {
      if (number > 0) x = x.map(ACTIVATIONS[activation]);
      if (axes.length === 4 && !convolved) x = channelsLast(x, axes[2]);
      if (bf16) x = roundToBfloat16(x);
      if (axes.length === 2) {
        x = linear(x, kernel, bias);
      } else {
        x = convTranspose(x, height, width, kernel, bias, axes[2]);
        [height, width, convolved] = [2 * height, 2 * width, true];
      }
    });
    if (convolved) x = crop(x, width, shape);
    return x.map(MEANS[output]);
  };
}
