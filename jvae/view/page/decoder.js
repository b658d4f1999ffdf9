"use strict";
// The decoder: z -> the mean of p(x|z), as jvae.decoders and jvae.distributions compute it.

const MEANS = {
  bernoulli: (logit) => 1 / (1 + Math.exp(-logit)),
  gaussian: (loc) => loc,
  "continuous-bernoulli": (logit) => {
    const square = logit * logit;
    if (square < 0.01) return 0.5 + logit * (1 / 12 - square * (1 / 720 - square / 30240));
    return 1 / (1 - Math.exp(-logit)) - 1 / logit;
  },
};

/** The function z -> mean of p(x|z), rows x columns x channels numbers, from jvae.view.weights.decoder_data. */
async function makeDecoder({ start, shape, output, ...net }) {
  const network = await makeNetwork(net, start, convTranspose);
  return (z) => {
    const { numbers, width } = network(z);
    return (numbers.length > shape[0] * shape[1] * shape[2] ? crop(numbers, width, shape) : numbers).map(MEANS[output]);
  };
}
