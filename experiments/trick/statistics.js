"use strict";
// The pictures of many estimates: their histograms, and their variance against the number of draws.

const NAMES = { pathwise: "pathwise", score: "score function" };
const BINS = 49;
const NONE = 1e-12; // a variance below which there is none

/** Both histograms over one axis, around the exact gradient. */
function drawHistograms(state, found, width, height) {
  const lists = Object.keys(NAMES).map((name) => {
    return [name, found[name].means[state.power], found[name].moments[state.power]];
  });
  const reach = 4 * Math.max(...lists.map(([, , { variance }]) => Math.sqrt(variance)));
  const away = Math.max(...lists.map(([, , { mean }]) => Math.abs(mean - state.exact)));
  const half = Math.max(reach, 1.3 * away, 1e-3), limits = [state.exact - half, state.exact + half];
  const x = axis(limits, [12, width - 12]), row = (height - 26) / 2, parts = [];
  for (const tick of ticksBetween(...limits, width < 420 ? 4 : 6)) {
    if (x(tick) < 26 || x(tick) > width - 26) continue; // its number would be cut
    parts.push(line("grid", x(tick), 24, x(tick), height - 24));
    parts.push(text("tick middle", x(tick), height - 7, plain(tick)));
  }
  lists.forEach(([name, means, { mean, variance }], i) => {
    const top = i * row + 26, base = (i + 1) * row, counts = new Array(BINS).fill(0);
    for (const value of means) {
      const bin = Math.floor(((value - limits[0]) / (2 * half)) * BINS);
      counts[Math.min(BINS - 1, Math.max(0, bin))]++; // the few beyond the axis count in the last
    }
    const y = axis([0, Math.max(...counts)], [base, top]), wide = (width - 24) / BINS;
    counts.forEach((count, bin) => {
      const at = { x: 12 + bin * wide + 0.5, y: y(count), width: Math.max(0.5, wide - 1), height: base - y(count) };
      if (count) parts.push(element("rect", `bar ${name}`, at));
    });
    parts.push(line("axis", 12, base, width - 12, base));
    const said = `${NAMES[name]}: ${figures(mean)} ± ${figures(Math.sqrt(variance))}`;
    parts.push(text(`name ${name}`, 12, top - 10, said));
    parts.push(line("exact", x(state.exact), top - 4, x(state.exact), base));
  });
  return parts.join("");
}

/** Variances against the number of draws, on two logarithmic axes: what theory says, 1/N, and what was found. */
function drawVariances(state, found, width, height) {
  const positive = Object.keys(NAMES).flatMap((name) => {
    const { exact, moments } = found[name];
    return [exact, exact / MOST, ...moments.map(({ variance }) => variance)].filter((value) => value > NONE);
  });
  if (positive.length === 0) positive.push(0.01, 1); // the axis needs some limits
  const limits = [Math.floor(Math.log10(Math.min(...positive))), Math.ceil(Math.log10(Math.max(...positive)))];
  const x = axis([0, POWERS - 1], [50, width - 18]), y = axis(limits, [height - 42, 30]), parts = [];
  const every = Math.ceil((limits[1] - limits[0]) / 6);
  for (let power = limits[0]; power <= limits[1]; power += every) {
    parts.push(line("grid", 50, y(power), width - 18, y(power)));
    parts.push(text("tick end", 44, y(power) + 4, powerOfTen(power)));
  }
  for (let p = 0; p < POWERS; p++) {
    parts.push(line(p === state.power ? "chosen" : "grid", x(p), 30, x(p), height - 42));
    parts.push(text("tick middle", x(p), height - 25, String(2 ** p)));
  }
  parts.push(text("label middle", (32 + width) / 2, height - 6, "draws per estimate, N"));
  Object.keys(NAMES).forEach((name, i) => {
    const { exact, moments } = found[name], inside = exact > NONE;
    const place = { x: i === 0 ? 50 : width - 18, kind: i === 0 ? "" : " right" };
    parts.push(text(`name ${name}${place.kind}`, place.x, 18, NAMES[name] + (inside ? "" : ": none")));
    if (!inside) return;
    const high = (p) => y(Math.log10(exact / 2 ** p));
    parts.push(line(`theory ${name}`, x(0), high(0), x(POWERS - 1), high(POWERS - 1)));
    moments.forEach(({ variance }, p) => {
      if (variance > NONE) parts.push(dot(`found ${name}`, x(p), y(Math.log10(variance)), p === state.power ? 6 : 4));
    });
  });
  return parts.join("");
}

/** The label of a tick at a power of ten. */
function powerOfTen(power) {
  return power >= -3 && power <= 3 ? String(Number(`1e${power}`)) : figures(10 ** power).replace("1.0 · ", "");
}
