"use strict";
// The functions f(z) on offer, each with the exact gradient of E[f(z)], z ~ N(loc, scale^2), in loc and scale.

const density = (x) => Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI); // of N(0, 1)

/**
 * name: for the button; formula: for the reader; jax: the same for Python; slope: df/dz; gradient: [in loc, in scale];
 * heights: least and largest f on the picture; jump: where f is not continuous, if anywhere; see: what to see here.
 */
const FUNCTIONS = {
  hill: {
    name: "hill",
    formula: "−(z − 1)² / 4",
    jax: "-((z - 1) ** 2) / 4",
    value: (z) => -((z - 1) ** 2) / 4,
    slope: (z) => (1 - z) / 2,
    gradient: (loc, scale) => [(1 - loc) / 2, -scale / 2],
    heights: [-7, 1],
    see: "Smooth, as a log-density is. The path is quieter; add a constant, and the score function gets far worse.",
  },
  bump: {
    name: "bump",
    formula: "exp(−2 (z − 1)²)",
    jax: "jnp.exp(-2 * (z - 1) ** 2)",
    value: (z) => Math.exp(-2 * (z - 1) ** 2),
    slope: (z) => -4 * (z - 1) * Math.exp(-2 * (z - 1) ** 2),
    gradient: (loc, scale) => {
      const wide = 0.25 + scale ** 2, away = loc - 1; // bump times density is a Gaussian in loc, of this variance
      const mean = (0.5 / Math.sqrt(wide)) * Math.exp((-0.5 * away ** 2) / wide);
      return [(-away / wide) * mean, scale * (away ** 2 / wide ** 2 - 1 / wide) * mean];
    },
    heights: [-0.15, 1.3],
    see: "Flat except in one place: most draws have nothing to say, and the few on its slopes decide. Move loc to −2.",
  },
  wave: {
    name: "wave",
    formula: "cos(5z)",
    jax: "jnp.cos(5 * z)",
    value: (z) => Math.cos(5 * z),
    slope: (z) => -5 * Math.sin(5 * z),
    gradient: (loc, scale) => {
      const faded = Math.exp(-12.5 * scale ** 2);
      return [-5 * Math.sin(5 * loc) * faded, -25 * scale * Math.cos(5 * loc) * faded];
    },
    heights: [-1.3, 1.5],
    see: "The path does not always win: where f wiggles much faster than q is wide, slopes are large and cancel. " +
      "Here the score function is quieter, until scale gets small.",
  },
  step: {
    name: "step",
    formula: "1 if z > 1, else 0",
    jax: "jnp.where(z > 1, 1.0, 0.0)",
    value: (z) => (z > 1 ? 1 : 0),
    slope: () => 0,
    gradient: (loc, scale) => {
      const away = (1 - loc) / scale;
      return [density(away) / scale, (away * density(away)) / scale];
    },
    heights: [-0.15, 1.3],
    jump: 1,
    see: "The slope is zero wherever a draw can fall, so the path finds a gradient of 0, without noise, and wrong. " +
      "A discrete choice looks like this: the score function is all there is.",
  },
};
