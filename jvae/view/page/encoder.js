"use strict";
// The encoder: an image -> q(z|x), as jvae.encoders computes it.

/** What the encoder sees of a pixel from 0 to 255, by the name that jvae.view.weights.SEEN has for it. */
const SEEN = {
  binary: (pixel) => Number(pixel >= 128),
  rescaled: (pixel) => pixel / 255,
  dequantised: (pixel) => (pixel + 0.5) / 256,
};

/** What sees pixels as the model does, and the function x -> {loc, scale}, of what jvae.view.weights.encoder_data says. */
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
