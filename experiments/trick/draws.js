"use strict";
// The picture of the draws: f and q, the way of every draw from where it was drawn, and its term in the gradient.

const REACH = [-5, 5]; // of z
const LEFT = 46, RIGHT = 12, TOP = 26, GAP = 30, BOTTOM = 40, WAYS = 34;
const WAY = { pathwise: "from where it was drawn to loc + scale · ε", score: "where it was drawn; size: its weight now" };

/** The places of a picture of that size: [top, bottom] of its three parts, and the axis of z. */
function places(width, height) {
  const rest = height - TOP - BOTTOM - WAYS - 2 * GAP, above = TOP + 0.6 * rest;
  return {
    z: axis(REACH, [LEFT, width - RIGHT]),
    f: [TOP, above],
    ways: [above + GAP, above + GAP + WAYS],
    terms: [above + 2 * GAP + WAYS, height - BOTTOM],
  };
}

/** The axis of densities, on which the narrower of the two curves is as high as 0.42 of its part. */
function densityAxis(state, part) {
  const peak = density(0) / Math.min(state.q.scale, state.drawn.scale);
  return axis([0, peak], [part[1], part[1] - 0.42 * (part[1] - part[0])]);
}

/** The knobs on q's curve, in pixels: at its top for loc, one scale away for scale. */
function knobs(state, width, height) {
  const { z, f } = places(width, height), up = densityAxis(state, f), { loc, scale } = state.q;
  return {
    loc: [z(loc), up(density(0) / scale)],
    scale: [z(loc + scale), up(density(1) / scale)],
  };
}

/** What the picture shows of every draw: where it was drawn, where it is, its weight, and its term. */
function shownDraws(state, name) {
  const { f, constant, q, drawn, by } = state;
  return Array.from(state.noise.subarray(0, state.draws), (eps) => {
    const from = drawn.loc + drawn.scale * eps;
    if (name === "pathwise") {
      return { from, z: q.loc + q.scale * eps, weight: 1, term: TERMS.pathwise(f, constant, q, by, eps) };
    }
    const counted = weight(from, q, drawn);
    const term = counted * TERMS.score(f, constant, q, by, (from - q.loc) / q.scale);
    return { from, z: from, weight: counted, term };
  });
}

/** The mean of the terms that a picture shows. */
const meanTerm = (draws) => draws.reduce((sum, { term }) => sum + term, 0) / draws.length;

/** One picture; `bound` is the largest size of a term in either. */
function drawDraws(state, name, draws, bound, width, height) {
  const { z, f, ways, terms } = places(width, height), value = (at) => state.f.value(at) + state.constant;
  const [least, largest] = state.f.heights;
  const limits = [Math.min(0, least + state.constant), Math.max(0, largest + state.constant)];
  const y = axis(limits, [f[1], f[0]]), up = densityAxis(state, f), parts = [];
  const xs = Array.from({ length: 301 }, (_, i) => REACH[0] + (i / 300) * (REACH[1] - REACH[0]));
  const curve = (q) => xs.map((x) => [z(x), up(Math.exp(logDensity(x, q)))]);
  for (const tick of ticksBetween(...limits, 4)) {
    parts.push(line(tick === 0 ? "axis" : "grid", LEFT, y(tick), width - RIGHT, y(tick)));
    parts.push(text("tick end", LEFT - 6, y(tick) + 4, plain(tick)));
  }
  for (const tick of ticksBetween(...REACH, width < 420 ? 5 : 10)) {
    parts.push(line("grid", z(tick), f[0], z(tick), terms[1]));
    parts.push(text("tick middle", z(tick), height - BOTTOM + 17, plain(tick)));
  }
  parts.push(text("label middle", z((REACH[0] + REACH[1]) / 2), height - 6, "z"));
  const curves = [path("q", curve(state.q), f[1]), path("drawn", curve(state.drawn))], moves = [];
  curves.push(path("f", jumping(state.f.jump, xs).map((x) => [z(x), y(value(x))])));
  for (const draw of draws) {
    const radius = Math.min(11, 3.5 * Math.sqrt(draw.weight)), x = z(draw.z), above = y(value(draw.z));
    if (name === "pathwise" && state.draws <= 16) curves.push(tangent(state, draw, z, y));
    curves.push(dot(`draw ${name}`, x, above, radius));
    moves.push(line(`way ${name}`, z(draw.from), ways[0], x, ways[1]), dot("start", z(draw.from), ways[0], 2));
    moves.push(dot(`draw ${name}`, x, ways[1], radius));
  }
  parts.push(clipped(`f-${name}`, [LEFT, width - RIGHT], f, curves));
  parts.push(clipped(`ways-${name}`, [LEFT, width - RIGHT], [ways[0] - 4, ways[1] + 12], moves));
  const added = state.constant ? " + constant" : "";
  parts.push(text("label", LEFT, TOP - 10, `f(z)${added} and q(z), dashed where drawn`));
  parts.push(text("label", LEFT, ways[0] - 11, WAY[name]));
  parts.push(drawTerms(state, name, draws, bound, z, terms, width));
  parts.push(drawKnobs(state, width, height));
  return parts.join("");
}

/** Shapes, cut at the edges of a part. */
function clipped(id, [left, right], [top, bottom], shapes) {
  const box = { x: left, y: top, width: Math.max(0, right - left), height: bottom - top };
  const edge = element("clipPath", "", { id }, element("rect", "", box));
  return edge + element("g", "", { "clip-path": `url(#${id})` }, shapes.join(""));
}

/** The z of a curve, with one more on either side of a jump. */
function jumping(jump, xs) {
  return jump === undefined ? xs : [...xs, jump, jump + 1e-9].sort((a, b) => a - b);
}

/** A piece of f's tangent at a draw: all that the path asks of f. */
function tangent(state, draw, z, y) {
  const across = z(1) - z(0), rise = state.f.slope(draw.z) * (y(1) - y(0)), half = 22 / Math.hypot(across, rise);
  const [x, at] = [z(draw.z), y(state.f.value(draw.z) + state.constant)];
  return line("slope", x - half * across, at - half * rise, x + half * across, at + half * rise);
}

/** Every draw's term as a bar at its z, their mean, and the exact gradient. */
function drawTerms(state, name, draws, bound, z, part, width) {
  const y = axis([-bound, bound], [part[1], part[0]]), inside = [];
  for (const tick of ticksBetween(-bound, bound, 4)) {
    inside.push(line(tick === 0 ? "axis" : "grid", LEFT, y(tick), width - RIGHT, y(tick)));
    inside.push(text("tick end", LEFT - 6, y(tick) + 4, plain(tick)));
  }
  const thick = state.draws > 32 ? "term thin" : "term";
  for (const draw of draws) {
    if (draw.z < REACH[0] || draw.z > REACH[1]) continue;
    inside.push(line(`${thick} ${name}`, z(draw.z), y(0), z(draw.z), y(draw.term)));
  }
  const mean = y(Math.min(bound, Math.max(-bound, meanTerm(draws)))), exact = y(state.exact);
  inside.push(line(`mean ${name}`, LEFT, mean, width - RIGHT, mean), line("exact", LEFT, exact, width - RIGHT, exact));
  inside.push(text("label", LEFT, part[0] - 8, `what each adds to d/d${BY[state.by]}, and their mean`));
  return inside.join("");
}

function drawKnobs(state, width, height) {
  const { loc, scale } = knobs(state, width, height);
  return dot("knob", ...loc, 8) + dot("knob", ...scale, 8) + text("knob-name middle", loc[0], loc[1] - 13, "loc") +
    text("knob-name", scale[0] + 12, scale[1] + 4, "scale");
}
