"use strict";
// Both estimators of the gradient of E[f(z) + constant], z ~ q = N(loc, scale^2), in loc (by = 0) or scale (1).

const REPEATS = 500; // estimates in a histogram, and behind a variance
const POWERS = 8; // numbers of draws per estimate: 1, 2, 4, ..., 128
const MOST = 2 ** (POWERS - 1);

/** Draws of N(0, 1) from a seed: mulberry32, and Box and Muller's transform. */
function makeNoise(seed, count) {
  const uniform = () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let bits = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return (((bits ^ (bits >>> 14)) >>> 0) + 0.5) / 4294967296;
  };
  return Float64Array.from({ length: count }, () => {
    return Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  });
}

/** The score: the derivative of log q(z) in loc or scale, at z = loc + scale * eps. */
const score = (scale, eps, by) => (by === 0 ? eps : eps * eps - 1) / scale;

/** One draw's term of each estimator. */
const TERMS = {
  pathwise: (f, constant, { loc, scale }, by, eps) => f.slope(loc + scale * eps) * (by === 0 ? 1 : eps),
  score: (f, constant, { loc, scale }, by, eps) => (f.value(loc + scale * eps) + constant) * score(scale, eps, by),
};

/** log q(z). */
const logDensity = (z, { loc, scale }) => Math.log(density((z - loc) / scale) / scale);

/** The weight of a draw that stays at z after q has moved: q(z) / q_drawn(z). */
const weight = (z, q, drawn) => Math.exp(logDensity(z, q) - logDensity(z, drawn));

/**
 * Estimates from rows of noise, MOST to a row: by estimator and power p, a list of the means over each row's first
 * 2^p draws. The terms are those of TERMS, with f evaluated once per draw: every frame of a drag computes them.
 */
function estimates(f, constant, { loc, scale }, by, noise) {
  const rows = Math.floor(noise.length / MOST);
  const [pathwise, score] = [0, 1].map(() => Array.from({ length: POWERS }, () => new Float64Array(rows)));
  for (let row = 0, i = 0; row < rows; row++) {
    let path = 0, weighed = 0;
    for (let k = 1, power = 0; k <= MOST; k++, i++) {
      const eps = noise[i], z = loc + scale * eps;
      path += by === 0 ? f.slope(z) : f.slope(z) * eps;
      weighed += (f.value(z) + constant) * (by === 0 ? eps : eps * eps - 1);
      if ((k & (k - 1)) !== 0) continue; // not a power of two
      pathwise[power][row] = path / k;
      score[power++][row] = weighed / scale / k;
    }
  }
  return { pathwise, score };
}

/** Mean and variance (n - 1) of numbers. */
function moments(numbers) {
  let mean = 0, squares = 0;
  for (let i = 0; i < numbers.length; i++) {
    const off = numbers[i] - mean;
    mean += off / (i + 1);
    squares += off * (numbers[i] - mean);
  }
  return { mean, variance: squares / (numbers.length - 1) };
}

/** The exact variance of one draw's term, by the midpoint rule over eps, on either side of a jump of f. */
function oneDrawVariance(name, f, constant, q, by) {
  const jump = f.jump === undefined ? 0 : (f.jump - q.loc) / q.scale;
  const ends = [-9, Math.min(9, Math.max(-9, jump)), 9], n = 1000;
  let first = 0, second = 0;
  for (const [low, high] of [ends.slice(0, 2), ends.slice(1)]) {
    for (let i = 0; i < n; i++) {
      const eps = low + ((i + 0.5) / n) * (high - low), mass = (density(eps) * (high - low)) / n;
      const value = TERMS[name](f, constant, q, by, eps);
      first += mass * value;
      second += mass * value * value;
    }
  }
  return Math.max(0, second - first ** 2);
}
