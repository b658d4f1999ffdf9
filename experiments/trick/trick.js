"use strict";
// The page: its state, what is computed from it, and every way to change it.

const $ = (id) => document.getElementById(id);
const BY = ["loc", "scale"];
const SIDES = ["pathwise", "score"];
const LIMITS = { loc: [-2, 2], scale: [0.1, 1.5] };
const STEP = 0.05; // of loc and scale, for an arrow key; five times that with Shift

class Trick {
  constructor() {
    Object.assign(this, { choice: "hill", by: 0, power: 4, constant: 0, seed: 1 });
    this.drawn = { loc: -1.3, scale: 0.7 }; // the q that the draws came from; q has moved on from there
    this.q = { loc: -0.6, scale: 0.9 };
    this.reseed(1);
  }

  /** All that the pictures show; `draws` are those of the first estimate. */
  state() {
    const f = FUNCTIONS[this.choice], { q, drawn, by, power, constant, noise } = this;
    return { f, q, drawn, by, power, constant, noise, draws: 2 ** power, exact: f.gradient(q.loc, q.scale)[by] };
  }

  reseed(seed) {
    this.seed = seed;
    this.noise = makeNoise(seed, REPEATS * MOST);
  }

  /** By estimator: estimates by power, their moments, and the exact variance of one draw. */
  found({ f, constant, q, by } = this.state()) {
    const lists = estimates(f, constant, q, by, this.noise);
    return Object.fromEntries(SIDES.map((name) => {
      const exact = oneDrawVariance(name, f, constant, q, by);
      return [name, { means: lists[name], moments: lists[name].map(moments), exact }];
    }));
  }

  /** Change some of the state, within its limits, and draw before the next frame. */
  set(changes) {
    const { loc = this.q.loc, scale = this.q.scale, ...others } = changes;
    const hold = (value, [low, high]) => Math.round(1e6 * Math.min(high, Math.max(low, value))) / 1e6;
    Object.assign(this, others);
    this.q = { loc: hold(loc, LIMITS.loc), scale: hold(scale, LIMITS.scale) };
    this.pending ??= requestAnimationFrame(() => {
      this.pending = null;
      this.draw();
    });
  }

  draw() {
    const state = this.state(), found = this.found(state);
    const sides = Object.fromEntries(SIDES.map((name) => [name, shownDraws(state, name)]));
    const sizes = SIDES.flatMap((name) => sides[name].map(({ term }) => Math.abs(term)));
    const bound = 1.05 * Math.max(Math.abs(state.exact), ...sizes, 0.1);
    show([
      ...SIDES.map((name) => [$(name), (...size) => drawDraws(state, name, sides[name], bound, ...size)]),
      [$("histograms"), (...size) => drawHistograms(state, found, ...size)],
      [$("variances"), (...size) => drawVariances(state, found, ...size)],
    ]);
    this.tell(state, found, sides);
  }

  /** Everything that is said in words and numbers. */
  tell(state, found, sides) {
    const { q, drawn, draws, by, power, constant } = state, count = draws === 1 ? "1 draw" : `${draws} draws`;
    const derivative = `d/d${BY[by]} E[f(z)]`, exact = figures(state.exact);
    const counted = sides.score.map(({ weight }) => weight), sum = counted.reduce((a, b) => a + b, 0);
    const worth = sum ** 2 / counted.reduce((a, b) => a + b * b, 0); // the effective number of draws
    const mean = (name) => `Mean of the bars: <b>${figures(meanTerm(sides[name]))}</b>; exact: <b>${exact}</b>.`;
    $("pathwise-caption").innerHTML = `The same ${count}, at loc + scale · ε. ${mean("pathwise")}`;
    $("score-caption").innerHTML =
      `${count}, each counted q(z) now / q(z) when drawn: worth ${written(worth, 1)}. ${mean("score")}` +
      (worth < draws / 4 ? " Few count: draw here." : "");
    $("redraw").disabled = q.loc === drawn.loc && q.scale === drawn.scale;
    $("see").textContent = `f(z) = ${state.f.formula}. ${state.f.see}`;
    const [path, score] = SIDES.map((name) => found[name].exact);
    $("ratio").textContent = path < NONE
      ? `Here the path has no noise${Math.abs(state.exact) > 1e-9 ? ", and is wrong" : ""}.`
      : `Here the score function's is ${figures(score / path)} times the path's.`;
    for (const [kind, words] of Object.entries({ derivative, count, exact, samples: `N = ${draws}` })) {
      document.querySelectorAll(`.${kind}`).forEach((place) => (place.textContent = words));
    }
    const sliders = { loc: [q.loc, 2], scale: [q.scale, 2], power: [power, 0, draws], constant: [constant, 1] };
    for (const [id, [value, digits, shown = value]] of Object.entries(sliders)) {
      $(id).value = value;
      $(id).setAttribute("aria-valuetext", written(shown, digits));
      $(id).previousElementSibling.textContent = written(shown, digits);
    }
    for (const [name, group] of [[this.choice, "functions"], [BY[by], "by"]]) {
      for (const button of $(group).children) button.setAttribute("aria-pressed", String(button.value === name));
    }
    const [first, second] = SIDES.map((name) => {
      const { mean, variance } = found[name].moments[power];
      return `${NAMES[name]} ${figures(mean)} ± ${figures(Math.sqrt(variance))}`;
    });
    const said = `${derivative} is ${exact}; ${first}, ${second}`;
    $("histograms").setAttribute("aria-label", `Histograms of 500 estimates of ${count}: ${said}`);
    const variances = `${figures(path)} pathwise, ${figures(score)} with the score function`;
    $("variances").setAttribute("aria-label", `Variance of one draw: ${variances}; both fall as 1/N`);
    $("listing").textContent = listing(state);
    clearTimeout(this.saying);
    const status = `loc ${written(q.loc)}, scale ${written(q.scale)}, ${count}. ${said}.`;
    this.saying = setTimeout(() => ($("status").textContent = status), 400);
  }
}

/** Python code that computes the same with jvae. */
function listing({ f, constant, q, draws }) {
  const number = (value) => (Number.isInteger(value) ? `${value}.0` : String(value));
  const added = constant === 0 ? "" : ` ${constant < 0 ? "-" : "+"} ${number(Math.abs(constant))}`;
  return `import distrax
import jax
import jax.numpy as jnp

from jvae.gradients import LatentModel, gradient_moments, pathwise, score_function


def f(z):
    return ${f.jax}${added}


def posterior(q, x):
    return distrax.Independent(distrax.Normal(q["loc"], q["scale"]), 1)


def prior(q, z):  # q itself, held: the ELBO's KL and its gradient are then zero, and E[f(z)] is left
    return posterior(jax.lax.stop_gradient(q), None).log_prob(z)


model = LatentModel(
    posterior=posterior,
    log_likelihood=lambda q, z, x: f(z[:, 0]),
    log_prior=prior,
    kl=lambda q, x: posterior(q, x).kl_divergence(posterior(jax.lax.stop_gradient(q), x)),
)
q = {"loc": jnp.array([[${number(q.loc)}]]), "scale": jnp.array([[${number(q.scale)}]])}
x, key, num_samples = jnp.zeros((1, 1)), jax.random.key(0), ${draws}
for estimator in (pathwise, score_function):
    print(estimator.__name__, gradient_moments(estimator, model, q, key, x, num_samples, repeats=500))
`;
}

function addButtons(group, entries, choose) {
  for (const [value, name] of entries) {
    const button = Object.assign(document.createElement("button"), { type: "button", value, textContent: name });
    button.addEventListener("click", () => choose(value));
    $(group).append(button);
  }
}

function listen(trick) {
  const names = Object.entries(FUNCTIONS).map(([key, { name }]) => [key, name]);
  addButtons("functions", names, (choice) => trick.set({ choice }));
  addButtons("by", BY.map((name) => [name, `d/d${name}`]), (name) => trick.set({ by: BY.indexOf(name) }));
  for (const id of ["loc", "scale", "power", "constant"]) {
    $(id).addEventListener("input", () => trick.set({ [id]: Number($(id).value) }));
  }
  const redraw = () => trick.set({ drawn: { ...trick.q } });
  $("redraw").addEventListener("click", redraw);
  $("noise").addEventListener("click", () => (trick.reseed(trick.seed + 1), trick.set({})));
  for (const name of SIDES) {
    listenToPointers(trick, $(name));
    $(name).addEventListener("keydown", (event) => {
      const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] };
      const size = event.shiftKey ? 5 * STEP : STEP, [along, wider] = ways[event.key] ?? [0, 0];
      if (event.key === "Enter") redraw();
      else if (along || wider) trick.set({ loc: trick.q.loc + along * size, scale: trick.q.scale + wider * size });
      else return;
      event.preventDefault();
    });
  }
  new ResizeObserver(() => trick.set({})).observe($("pictures"));
}

/** Drag the nearer knob sideways by as much as the pointer moves, so that a drag can start anywhere. */
function listenToPointers(trick, svg) {
  let held;
  svg.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !event.isPrimary || held) return;
    const box = svg.getBoundingClientRect(), at = knobs(trick.state(), box.width, box.height);
    const away = ([x, y]) => Math.hypot(x - (event.clientX - box.left), y - (event.clientY - box.top));
    const name = away(at.scale) < away(at.loc) ? "scale" : "loc";
    svg.setPointerCapture(event.pointerId);
    const { z } = places(box.width, box.height);
    held = { id: event.pointerId, name, from: event.clientX, value: trick.q[name], z };
  });
  svg.addEventListener("pointermove", (event) => {
    if (event.pointerId !== held?.id) return;
    trick.set({ [held.name]: held.value + held.z.back(event.clientX) - held.z.back(held.from) });
  });
  svg.addEventListener("lostpointercapture", (event) => {
    if (event.pointerId === held?.id) held = undefined;
  });
}

const trick = new Trick();
listen(trick);
trick.draw();
document.body.dataset.ready = "true";
window.trick = trick; // for the console
