"use strict";
// The page: a probe on the map, the image that the decoder makes of its latent, and the test image nearest to it.

const $ = (id) => document.getElementById(id);
const NEAR = 16; // CSS pixels between a pointer and the dot it is on
const STEP = 0.01; // of the map's width, for an arrow key; five times that with Shift

/** Draw an image of numbers in [0, 1] (times `white`): grey for one channel, RGB for three, else the channels' mean. */
function drawImage(canvas, numbers, [height, width, channels], white = 1) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d"), picture = context.createImageData(width, height);
  for (let p = 0; p < width * height; p++) {
    const pixel = numbers.subarray(p * channels, (p + 1) * channels);
    const colour = channels === 3 ? pixel : Array(3).fill(pixel.reduce((sum, value) => sum + value, 0) / channels);
    for (let c = 0; c < 3; c++) picture.data[4 * p + c] = Math.round((255 * colour[c]) / white);
    picture.data[4 * p + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
}

class Explorer {
  constructor(data, arrays, decode) {
    const [n, dimensions] = arrays.coordinates.shape;
    Object.assign(this, { data, arrays, decode, n, dimensions });
    this.shape = data.decoder.shape;
    this.chosen = new Set(); // classes; all where it is empty
    this.position = new Float64Array(dimensions);
    this.map = new LatentMap($("points"), {
      points: { coordinates: arrays.coordinates.numbers, labels: arrays.labels.numbers, n, dimensions },
      classes: data.classes,
      prior: { density: arrays.density.numbers, side: arrays.density.shape[0], levels: data.prior.levels },
      window: data.window,
      labels: data.projection.labels,
    });
    this.nearestIs = dimensions > 2 ? "nearest in the plane" : "nearest test image"; // what `neighbour` is
    this.isChosen = (label) => this.chosen.size === 0 || this.chosen.has(label);
  }

  /** The latent at the probe: center + position @ axes. */
  latent() {
    const { center, axes } = this.arrays;
    return center.numbers.map((middle, j) => {
      let sum = middle;
      for (let i = 0; i < this.dimensions; i++) sum += this.position[i] * axes.numbers[i * center.numbers.length + j];
      return sum;
    });
  }

  image(point) {
    const size = this.shape[0] * this.shape[1] * this.shape[2];
    return this.arrays.images.numbers.subarray(point * size, (point + 1) * size);
  }

  /** What a point's image is called; where there is one class, or no labels, it goes without. */
  imageName(point) {
    return this.data.classes.length > 1 ? `class ${this.className(point)}` : "a test image";
  }

  className(point) {
    return this.data.classes[this.arrays.labels.numbers[point]].name;
  }

  /** The probe's place on the map: on a line the rows are the classes', and the probe has none. */
  place() {
    return [this.position[0], this.map.line ? null : this.position[1]];
  }

  moveTo([x, y]) {
    this.position[0] = x;
    if (!this.map.line) this.position[1] = y;
    this.changed();
  }

  /** Take a point's whole latent, off the plane too. */
  moveToPoint(point) {
    this.position.set(this.arrays.coordinates.numbers.subarray(point * this.dimensions, (point + 1) * this.dimensions));
    this.changed();
  }

  /** Draw what hangs on the probe before the next frame. */
  changed() {
    this.pending ??= requestAnimationFrame(() => {
      this.pending = null;
      this.drawProbe();
    });
  }

  drawMap() {
    this.map.draw(this.isChosen, $("show-prior").checked);
    this.drawProbe();
  }

  drawProbe() {
    const z = this.latent(), mean = this.decode(z);
    drawImage($("decoded"), mean, this.shape);
    const { top, height } = this.map.frame, [x, y] = this.map.toPixels(...this.place());
    $("probe").style.setProperty("--height", `${height}px`);
    $("probe").style.transform = `translate(${x}px, ${this.map.line ? top + height / 2 : y}px)`;
    this.neighbour = this.map.nearest(this.place(), this.isChosen).point;
    this.drawNeighbour();
    if (this.dragging) this.showTip(this.dragging, mean, 1, "");
    const numbers = Array.from(z, (value) => written(value)).join(", ");
    $("numbers").textContent = `${this.data.level ? "z1" : "z"} = (${numbers})`;
    this.sliders?.forEach(({ input, output, axis }) => {
      input.value = this.position[axis];
      output.textContent = written(this.position[axis]);
    });
    if (this.sliders) $("reset").disabled = this.position.slice(2).every((value) => value === 0);
    clearTimeout(this.saying);
    this.saying = setTimeout(() => ($("status").textContent = this.described()), 400);
  }

  described() {
    const [x, y] = this.place(), where = y === null ? written(x) : `${written(x)}, ${written(y)}`;
    return `Probe at ${where}; ${this.nearestIs}: ${this.imageName(this.neighbour)}.`;
  }

  /** The point whose test image is shown: the one under the pointer, or else the one nearest to the probe. */
  pictured() {
    return this.hovered ?? this.neighbour;
  }

  drawNeighbour() {
    const point = this.pictured(), label = this.arrays.labels.numbers[point];
    drawImage($("neighbour"), this.image(point), this.shape, 255);
    const name = this.imageName(point);
    $("neighbour").setAttribute("aria-label", `Test image: ${name}`);
    $("class").textContent = name[0].toUpperCase() + name.slice(1);
    $("class").style.setProperty("--class", this.data.classes[label].colour);
    $("distance").textContent = this.hovered === undefined ? this.nearestIs : "test image under the pointer";
    const [x, y] = this.map.toPixels(this.map.places[2 * point], this.map.places[2 * point + 1]);
    $("ring").style.transform = `translate(${x}px, ${y}px)`;
    $("ring").style.setProperty("--class", this.data.classes[label].colour);
    $("ring").hidden = false;
  }

  /** Show an image beside a pointer: above it, and higher above a finger. */
  showTip({ x, y, touch }, numbers, white, text) {
    const tip = $("tip"), plane = $("plane").getBoundingClientRect();
    tip.hidden = false;
    drawImage(tip.firstElementChild, numbers, this.shape, white);
    tip.lastElementChild.textContent = text;
    const gap = touch ? 56 : 22, above = y - gap - tip.offsetHeight;
    const left = Math.min(plane.width - tip.offsetWidth - 4, Math.max(4, x - tip.offsetWidth / 2));
    tip.style.transform = `translate(${left}px, ${above < 4 ? y + gap : above}px)`;
  }

  hover(point, pointer) {
    this.hovered = point;
    if (point === undefined) $("tip").hidden = true;
    else this.showTip(pointer, this.image(point), 255, this.className(point));
    this.drawNeighbour();
  }

  listen() {
    const plane = $("plane");
    const pointer = (event) => {
      const box = plane.getBoundingClientRect();
      const touch = event.pointerType !== "mouse";
      return { x: event.clientX - box.left, y: event.clientY - box.top, touch, id: event.pointerId };
    };
    const drag = (event) => {
      this.dragging = pointer(event);
      this.moveTo(this.map.toPlace(this.dragging.x, this.dragging.y));
    };
    plane.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !event.isPrimary || this.dragging) return;
      plane.setPointerCapture(event.pointerId);
      plane.classList.add("dragging");
      this.hovered = undefined;
      drag(event);
    });
    plane.addEventListener("pointermove", (event) => {
      if (this.dragging) return event.pointerId === this.dragging.id && drag(event);
      if (!event.isPrimary) return;
      const at = pointer(event), { point, pixels } = this.map.nearest(this.map.toPlace(at.x, at.y), this.isChosen);
      this.hover(pixels <= NEAR ? point : undefined, at);
    });
    plane.addEventListener("lostpointercapture", (event) => {
      if (event.pointerId !== this.dragging?.id) return; // another finger's
      this.dragging = undefined;
      plane.classList.remove("dragging");
      $("tip").hidden = true;
    });
    plane.addEventListener("pointerleave", () => this.dragging || this.hover(undefined));
    plane.addEventListener("keydown", (event) => this.key(event));
    $("go").addEventListener("click", () => this.moveToPoint(this.pictured()));
    $("reset").addEventListener("click", () => (this.position.fill(0, 2), this.changed()));
    $("show-prior").addEventListener("change", () => this.drawMap());
    new ResizeObserver(() => (this.map.resize(), this.drawMap())).observe(plane);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.map.shade = null; // its colours are the scheme's
      this.drawMap();
    });
  }

  key(event) {
    const [[left, right], [bottom, top]] = this.map.limits, size = event.shiftKey ? 5 * STEP : STEP;
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] };
    const [across, up] = ways[event.key] ?? [0, 0];
    if (event.key === "Enter") this.moveToPoint(this.neighbour);
    else if (event.key === "Home") this.moveTo([0, 0]);
    else if (across || up) {
      const hold = (value, low, high) => Math.min(high, Math.max(low, value)), [x, y] = this.place();
      const next = [x + across * size * (right - left), y + up * size * (top - bottom)];
      this.moveTo([hold(next[0], left, right), hold(next[1], bottom, top)]);
    } else return;
    event.preventDefault();
  }

  /** A button a class; of those that have no point here, there is nothing to see alone. */
  addLegend() {
    const withPoints = new Set(this.arrays.labels.numbers);
    const longest = Math.max(...this.data.classes.map(({ name }) => name.length));
    $("legend").style.setProperty("--entry", `${2 + 0.6 * longest}rem`);
    this.data.classes.forEach(({ name, colour }, label) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: name, disabled: !withPoints.has(label) });
      if (button.disabled) button.title = "no test image of this class is shown";
      button.setAttribute("aria-pressed", "false");
      button.setAttribute("aria-label", `class ${name}`);
      button.style.setProperty("--class", colour);
      button.addEventListener("click", () => {
        const pressed = this.chosen.delete(label) === false && Boolean(this.chosen.add(label));
        button.setAttribute("aria-pressed", String(pressed));
        $("legend").classList.toggle("some", this.chosen.size > 0);
        this.drawMap();
      });
      $("legend").append(button);
    });
    $("legend").hidden = this.data.classes.length === 1;
  }

  /** A slider for each further principal component, of which those with the most variance come first. */
  addSliders() {
    const { labels, deviations } = this.data.projection, axes = deviations.slice(2, 10).map((_, i) => i + 2);
    if (axes.length === 0) return;
    $("components").hidden = false;
    this.sliders = axes.map((axis) => {
      const label = document.createElement("label"), reach = 3 * deviations[axis];
      const [, share] = labels[axis].match(/\(([\d.]+)%/);
      label.innerHTML = "<span></span><input type='range' step='any'><output></output>";
      const [span, input, output] = label.children;
      span.textContent = `PC ${axis + 1} · ${Math.round(share)}%`;
      input.setAttribute("aria-label", labels[axis]);
      Object.assign(input, { min: -reach, max: reach });
      input.addEventListener("input", () => ((this.position[axis] = Number(input.value)), this.changed()));
      $("sliders").append(label);
      return { input, output, axis };
    });
  }

  /** How far the browser's decoder is from JAX's, at the latent that the page brings. */
  difference() {
    const mean = this.decode(this.arrays.z.numbers), theirs = this.arrays.mean.numbers;
    return mean.reduce((most, value, i) => Math.max(most, Math.abs(value - theirs[i])), 0);
  }
}

async function start() {
  const data = JSON.parse($("data").textContent), { center, axes } = data.projection, { z, mean } = data.check;
  const { coordinates, images, labels, prior } = data;
  const packed = { coordinates, images, labels, center, axes, z, mean, density: prior.density };
  const arrays = {};
  await Promise.all(Object.entries(packed).map(async ([name, array]) => (arrays[name] = await unpack(array))));
  const explorer = new Explorer(data, arrays, await makeDecoder(data.decoder));
  const words = data.title.replaceAll(" = ", "\u00a0=\u00a0").split(/(?<=[_/:])/); // where a long name may break
  $("model").replaceChildren(...words.flatMap((word) => [document.createElement("wbr"), word]));
  $("plane").classList.toggle("line", explorer.map.line);
  if (data.level) $("latent").innerHTML = "z<sub>1</sub>";
  if (!prior.exact) $("prior-name").textContent = "prior density (an estimate from draws)";
  $("plane").setAttribute("aria-label", `Latent space: ${data.projection.labels.slice(0, 2).join(" and ")}`);
  explorer.addLegend();
  explorer.addSliders();
  explorer.map.resize();
  explorer.drawMap();
  explorer.listen();
  const apart = explorer.difference().toExponential(0).replace("-", "−");
  $("about").textContent = `${explorer.n.toLocaleString("en")} test images. Decoded here, in the browser; ` +
    `at most ${apart} from what JAX decodes at the same latent.`;
  document.body.dataset.ready = "true";
  window.explorer = explorer; // for the console
}

start().catch((error) => {
  $("model").textContent = `This page could not be shown: ${error.message}. It needs a browser of 2023 or later.`;
  throw error;
});
