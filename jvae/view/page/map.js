"use strict";
// The map: the test set's latents in their plane, or on a line if there is one axis, and the prior below them.

const PADDING = { left: 46, right: 14, top: 14, bottom: 46 };
const LABEL = 16; // the width of the vertical axis's labels that the padding leaves room for

/** A colour from the style sheet. */
const themed = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Round numbers from low to high, about `count` of them. */
function ticksBetween(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= 0.8 * rough);
  const ticks = [];
  for (let i = Math.ceil(low / step); i * step <= high; i++) ticks.push(Number((i * step).toPrecision(6)));
  return ticks;
}

/** A number as text, with two decimals and a true minus sign. */
const written = (number) => number.toFixed(2).replace("-", "−").replace(/^−(0\.?0*)$/, "$1");

/** A tick as text, with all its decimals. */
const labelled = (tick) => String(tick).replaceAll("-", "−");

/** A number, or the limit that it exceeds. */
const held = (number, low, high) => Math.min(high, Math.max(low, number));

class LatentMap {
  /** points: {coordinates, labels, n, dimensions}; classes: [{name, colour}]; prior: {density, levels, side}. */
  constructor(canvas, { points, classes, prior, window: limits, labels }) {
    Object.assign(this, { canvas, points, classes, prior, limits, labels });
    this.line = limits.length === 1;
    if (this.line) this.limits = [limits[0], [-0.7, classes.length - 0.3]]; // one row per class
    this.places = new Float32Array(2 * points.n);
    for (let i = 0; i < points.n; i++) {
      const first = points.coordinates[i * points.dimensions];
      const jitter = ((i * 0.618034) % 1) - 0.5;
      this.places[2 * i] = first;
      const second = this.line ? points.labels[i] + 0.7 * jitter : points.coordinates[i * points.dimensions + 1];
      this.places[2 * i + 1] = second;
    }
  }

  resize() {
    const { width, height } = this.canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
    Object.assign(this, { width, height, ratio });
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    const { left, right, top, bottom } = PADDING, inner = [width - left - right, height - top - bottom];
    const count = Math.max(4, Math.round(inner[0] / 90)), context = this.canvas.getContext("2d");
    this.ticks = this.limits.map(([low, high]) => ticksBetween(low, high, count).map((at) => ({ at, text: labelled(at) })));
    if (this.line) this.ticks[1] = this.classes.map(({ name }, at) => ({ at, text: name }));
    context.font = this.font();
    const more = Math.max(0, ...this.ticks[1].map(({ text }) => context.measureText(text).width - LABEL));
    this.frame = { left: left + more, top, width: inner[0] - more, height: inner[1] - more }; // one scale for both axes
    this.shade = null;
  }

  font() {
    return `13px ${getComputedStyle(this.canvas).fontFamily}`;
  }

  /** The pixel of a place on the map, in CSS pixels of the canvas. */
  toPixels(x, y) {
    const [[left, right], [bottom, top]] = this.limits, frame = this.frame;
    return [
      frame.left + ((x - left) / (right - left)) * frame.width,
      frame.top + ((top - y) / (top - bottom)) * frame.height,
    ];
  }

  /** The place on the map at a pixel, clipped to the map. */
  toPlace(px, py) {
    const [[left, right], [bottom, top]] = this.limits, frame = this.frame;
    return [
      left + held((px - frame.left) / frame.width, 0, 1) * (right - left),
      top - held((py - frame.top) / frame.height, 0, 1) * (top - bottom),
    ];
  }

  /** The origin, or the map's middle along an axis without it. */
  home() {
    return this.limits.map(([low, high]) => (low <= 0 && high >= 0 ? 0 : (low + high) / 2));
  }

  /** The place on the map that is nearest to any place. */
  within(place) {
    return this.limits.map(([low, high], axis) => held(place[axis], low, high));
  }

  /**
   * The point nearest to a place, among those of the chosen classes, and how many CSS pixels it is away. Where these
   * classes have no point, it is undefined, and infinitely far.
   */
  nearest([x, y], chosen) {
    const [[left, right], [bottom, top]] = this.limits, frame = this.frame;
    const scaleX = frame.width / (right - left), scaleY = frame.height / (top - bottom);
    let best, least = Infinity;
    for (let i = 0; i < this.points.n; i++) {
      if (!chosen(this.points.labels[i])) continue;
      const apart = y === null ? 0 : this.places[2 * i + 1] - y;
      const distance = Math.hypot((this.places[2 * i] - x) * scaleX, apart * scaleY);
      if (distance < least) [best, least] = [i, distance];
    }
    return { point: best, pixels: least };
  }

  draw(chosen, showPrior) {
    const context = this.canvas.getContext("2d"), frame = this.frame;
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    this.drawAxes(context);
    context.save();
    context.beginPath();
    context.rect(frame.left, frame.top, frame.width, frame.height);
    context.clip();
    if (showPrior) this.line ? this.drawCurve(context) : this.drawBands(context);
    this.drawPoints(context, chosen);
    context.restore();
  }

  drawAxes(context) {
    const frame = this.frame, [[left], [bottom]] = this.limits;
    context.font = this.font();
    context.fillStyle = themed("--muted");
    context.textAlign = "center";
    context.textBaseline = "top";
    for (const { at, text } of this.ticks[0]) {
      const [x] = this.toPixels(at, bottom);
      this.drawLine(context, at === 0 ? "--axis" : "--grid", x, frame.top, x, frame.top + frame.height);
      context.fillText(text, x, frame.top + frame.height + 7);
    }
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const { at, text } of this.ticks[1]) {
      const [, y] = this.toPixels(left, at);
      const colour = at === 0 && !this.line ? "--axis" : "--grid";
      this.drawLine(context, colour, frame.left, y, frame.left + frame.width, y);
      context.fillText(text, frame.left - 8, y);
    }
    context.textAlign = "center";
    context.textBaseline = "alphabetic";
    const middle = [frame.left + frame.width / 2, frame.top + frame.height / 2];
    context.fillText(this.labels[0], middle[0], this.height - 8, frame.width);
    context.translate(14, middle[1]);
    context.rotate(-Math.PI / 2);
    context.fillText(this.line ? (this.classes.length > 1 ? "class" : "") : this.labels[1], 0, 0, frame.height);
    context.rotate(Math.PI / 2);
    context.translate(-14, -middle[1]);
  }

  drawLine(context, colour, x0, y0, x1, y1) {
    context.strokeStyle = themed(colour);
    context.beginPath();
    context.moveTo(x0, y0);
    context.lineTo(x1, y1);
    context.stroke();
  }

  /** Draw the points, with those of the chosen classes above the others. */
  drawPoints(context, chosen) {
    const { n, labels } = this.points, crowd = Math.sqrt(2000 / Math.max(n, 500)), faint = themed("--muted");
    const radius = Math.max(1.7, Math.min(4.5, (this.frame.width / 190) * crowd));
    context.strokeStyle = themed("--rim"); // dark classes would not stand out from a dark card
    context.lineWidth = 0.6;
    for (const among of [false, true]) {
      context.globalAlpha = among ? 0.78 : 0.22;
      for (let i = 0; i < n; i++) {
        if (chosen(labels[i]) !== among) continue;
        context.fillStyle = among ? this.classes[labels[i]].colour : faint;
        context.beginPath();
        context.arc(...this.toPixels(this.places[2 * i], this.places[2 * i + 1]), radius, 0, 2 * Math.PI);
        context.fill();
        if (among) context.stroke();
      }
    }
    context.globalAlpha = 1;
  }

  /** Draw bands of the prior's density, each of which holds a share of its mass. */
  drawBands(context) {
    const { left, top, width, height } = this.frame;
    this.shade ??= this.shadeBands(Math.round(width), Math.round(height));
    context.drawImage(this.shade, left, top, width, height);
  }

  /** The picture of the bands: the density between grid points, more opaque the more levels lie below it. */
  shadeBands(width, height) {
    const { density, side, levels } = this.prior;
    const values = new Float32Array(width * height);
    for (let row = 0; row < height; row++) {
      const v = (1 - (row + 0.5) / height) * (side - 1), i = Math.min(side - 2, Math.floor(v)), t = v - i;
      for (let column = 0; column < width; column++) {
        const u = ((column + 0.5) / width) * (side - 1), j = Math.min(side - 2, Math.floor(u)), s = u - j;
        const at = i * side + j;
        values[row * width + column] = (1 - t) * ((1 - s) * density[at] + s * density[at + 1]) +
          t * ((1 - s) * density[at + side] + s * density[at + side + 1]);
      }
    }
    const shade = document.createElement("canvas");
    Object.assign(shade, { width, height });
    const context = shade.getContext("2d"), picture = context.createImageData(width, height);
    const [red, green, blue] = themed("--prior").split(" ").map(Number), strength = Number(themed("--prior-strength"));
    for (let p = 0; p < values.length; p++) {
      const beside = values[p % width === width - 1 ? p - 1 : p + 1], below = values[p < width ? p + width : p - width];
      const slope = Math.abs(beside - values[p]) + Math.abs(below - values[p]) + 1e-12;
      let bands = 0; // a pixel that a level crosses counts in part, for smooth edges
      for (const level of levels) bands += Math.min(1, Math.max(0, (values[p] - level) / slope + 0.5));
      picture.data.set([red, green, blue, (255 * strength * bands) / levels.length], 4 * p);
    }
    context.putImageData(picture, 0, 0);
    return shade;
  }

  /** Draw the prior's density over the line, scaled to the map's height. */
  drawCurve(context) {
    const { density, side } = this.prior, { left, top, width, height } = this.frame, highest = Math.max(...density);
    context.beginPath();
    context.moveTo(left, top + height);
    for (let i = 0; i < side; i++) {
      context.lineTo(left + (i / (side - 1)) * width, top + height * (1 - (0.96 * density[i]) / highest));
    }
    context.lineTo(left + width, top + height);
    context.fillStyle = `rgb(${themed("--prior")} / ${0.6 * Number(themed("--prior-strength"))})`;
    context.fill();
  }
}
