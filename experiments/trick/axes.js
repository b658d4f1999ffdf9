"use strict";
// What every picture is drawn with: SVG in CSS pixels, written as text.

/** A number for a reader: some decimals, and a true minus sign. */
const written = (number, digits = 2) => number.toFixed(digits).replace("-", "−").replace(/^−(0\.?0*)$/, "$1");

/** A number of any size with three significant figures. */
function figures(number) {
  const size = Math.abs(number);
  if (size === 0) return "0";
  if (size < 1e-3 || size >= 1e5) {
    const [digits, power] = number.toExponential(1).split("e");
    const raised = [...String(Number(power))].map((sign) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(sign)]);
    return `${written(Number(digits), 1)} · 10${raised.join("")}`;
  }
  return written(number, size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
}

/** A tick's number, with the decimals that it has. */
const plain = (tick) => (tick !== 0 && Math.abs(tick) < 1e-4 ? figures(tick) : String(tick).replace("-", "−"));

/** A function from [low, high] to pixels [from, to]; `.back` is its inverse. */
function axis([low, high], [from, to]) {
  const at = (value) => from + ((value - low) / (high - low)) * (to - from);
  at.back = (pixel) => low + ((pixel - from) / (to - from)) * (high - low);
  return at;
}

/** Round numbers from low to high, about `count` of them. */
function ticksBetween(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= 0.8 * rough);
  const first = Math.ceil(low / step), ticks = [];
  for (let i = first; i * step <= high; i++) ticks.push(Number((i * step).toPrecision(6)));
  return ticks;
}

const round = (pixel) => Math.round(pixel * 100) / 100;

/** An element as text: its class, its attributes, its content. */
function element(name, kind, attributes = {}, content = "") {
  const said = Object.entries(attributes).map(([key, value]) => {
    return ` ${key}="${typeof value === "number" ? round(value) : value}"`;
  });
  return `<${name} class="${kind}"${said.join("")}>${content}</${name}>`;
}

const line = (kind, x1, y1, x2, y2) => element("line", kind, { x1, y1, x2, y2 });
const dot = (kind, cx, cy, r) => element("circle", kind, { cx, cy, r });
const text = (kind, x, y, content) => element("text", kind, { x, y }, content);

/** A line through points, [x, y] each; closed to the height `base`, if that is given. */
function path(kind, points, base) {
  const through = points.map(([x, y]) => `${round(x)} ${round(y)}`).join("L");
  const closed = base === undefined ? "" : `V${round(base)}H${round(points[0][0])}Z`;
  return element("path", kind, { d: `M${through}${closed}` });
}

/** Draw pictures into their SVG elements, at the size they have on the page: `draw` gets width and height. */
function show(pictures) {
  const sizes = pictures.map(([svg]) => svg.getBoundingClientRect()); // all before any is changed
  pictures.forEach(([svg, draw], i) => {
    const { width, height } = sizes[i];
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.innerHTML = draw(width, height);
  });
}
