"use strict";
// Networks: linear layers and convolutions, as jvae.nn computes them.

const ACTIVATIONS = {
  relu: (x) => Math.max(x, 0),
  tanh: (x) => Math.tanh(x),
  gelu: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  elu: (x) => (x > 0 ? x : Math.expm1(x)),
  "leaky-relu": (x) => (x > 0 ? x : 0.01 * x),
  silu: (x) => x / (1 + Math.exp(-x)),
};

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
 * Halve an image of height x width pixels, channels last: an output depends on 4x4 pixels. The kernel's axes are row,
 * column, channel and feature; the stride is 2 and the padding 1.
 */
function conv(x, height, width, kernel, bias, channels) {
  const features = bias.length, rows = height >> 1, columns = width >> 1;
  const y = new Float32Array(rows * columns * features);
  for (let r = 0; r < rows; r++) for (let s = 0; s < columns; s++) {
    const to = (r * columns + s) * features;
    y.set(bias, to);
    for (let i = Math.max(0, 1 - 2 * r); i < 4 && 2 * r + i - 1 < height; i++) {
      for (let j = Math.max(0, 1 - 2 * s); j < 4 && 2 * s + j - 1 < width; j++) {
        addProduct(y, to, x, ((2 * r + i - 1) * width + 2 * s + j - 1) * channels, channels, kernel, i * 4 + j, features);
      }
    }
  }
  return { y, height: rows, width: columns };
}

/** Double an image: every pixel adds to 4x4 outputs; the transpose of `conv`. */
function convTranspose(x, height, width, kernel, bias, channels) {
  const features = bias.length, rows = 2 * height, columns = 2 * width;
  const y = new Float32Array(rows * columns * features);
  for (let i = 0; i < y.length; i++) y[i] = bias[i % features];
  for (let r = 0; r < height; r++) for (let s = 0; s < width; s++) {
    for (let i = Math.max(0, 1 - 2 * r); i < 4 && 2 * r + i - 1 < rows; i++) {
      for (let j = Math.max(0, 1 - 2 * s); j < 4 && 2 * s + j - 1 < columns; j++) {
        const to = ((2 * r + i - 1) * columns + 2 * s + j - 1) * features;
        addProduct(y, to, x, (r * width + s) * channels, channels, kernel, i * 4 + j, features);
      }
    }
  }
  return { y, height: rows, width: columns };
}

/** y[to:] += x[at: at + channels] @ the channel x feature matrix at one place of a kernel. */
function addProduct(y, to, x, at, channels, kernel, place, features) {
  for (let c = 0; c < channels; c++) {
    const value = x[at + c];
    if (value === 0) continue;
    const from = (place * channels + c) * features;
    for (let f = 0; f < features; f++) y[to + f] += value * kernel[from + f];
  }
}

/**
 * The function x -> {numbers, width} from jvae.view.weights.net_data. `start` is the height and width that its
 * convolutions begin with. Images are pixels x channels between convolutions, and channels x pixels for linear layers.
 */
async function makeNetwork({ layers, activation, bf16 }, start, convolve) {
  const ready = await Promise.all(layers.map(async (layer) => {
    const [kernel, bias] = await Promise.all([unpack(layer.kernel), unpack(layer.bias)]);
    return { kernel: kernel.numbers, bias: bias.numbers, axes: kernel.shape, convolves: kernel.shape.length === 4 };
  }));
  return (input) => {
    let x = Float32Array.from(input), [height, width] = start;
    ready.forEach(({ kernel, bias, axes, convolves }, number) => {
      const before = ready[number - 1];
      if (before) x = x.map(ACTIVATIONS[activation]);
      if (before && before.convolves !== convolves) x = transposed(x, convolves ? axes[2] : height * width);
      if (bf16) x = roundToBfloat16(x);
      if (convolves) ({ y: x, height, width } = convolve(x, height, width, kernel, bias, axes[2]));
      else x = linear(x, kernel, bias);
    });
    return { numbers: x, width };
  };
}
