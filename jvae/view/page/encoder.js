"use strict";
// The encoder: an image -> q(z|x), as jvae.encoders computes it.

/** The encoder's input for a pixel from 0 to 255, by its name in jvae.view.weights.SEEN. */
const SEEN = {
  binary: (pixel) => Number(pixel >= 128),
  rescaled: (pixel) => pixel / 255,
  dequantised: (pixel) => (pixel + 0.5) / 256,
};

/** The transform of pixels, and the function x -> {loc, scale}, from jvae.view.weights.encoder_data. */
async function makeEncoder({ seen, ...net }, [height, width]) {
  const network = await makeNetwork(net, [height, width], conv);
  return {
    seen,
    see: (pixels) => Float32Array.from(pixels, SEEN[seen]),
    encode: (x) => {
      const { numbers } = network(x), m = numbers.length / 2;
      return { loc: numbers.slice(0, m), scale: numbers.slice(m).map(Math.exp) };
    },
  };
}
