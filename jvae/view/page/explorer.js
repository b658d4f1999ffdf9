"use strict";
// The page: a probe on the map, the decoded image at its latent, and the nearest test image.

const $ = (id) => document.getElementById(id);
const NEAR = 16; // the largest distance in CSS pixels between a pointer and its dot
const STEP = 0.01; // of the map's width, for an arrow key; five times that with Shift

class Explorer {
  constructor(data, arrays, decode, encoder) {
    const [n, dimensions] = arrays.coordinates.shape;
    Object.assign(this, { data, arrays, decode, n, dimensions });
    this.name = data.level ? "z1" : "z";
    this.shape = data.decoder.shape;
    this.chosen = new Set(); // classes; empty means all
    this.map = new LatentMap($("points"), {
      points: { coordinates: arrays.coordinates.numbers, labels: arrays.labels.numbers, n, dimensions },
      classes: data.classes,
      prior: { density: arrays.density.numbers, side: arrays.density.shape[0], levels: data.prior.levels },
      window: data.window,
      labels: data.projection.labels,
    });
    this.position = new Float64Array(dimensions);
    this.setPlace(this.map.home());
    this.nearestIs = dimensions > 2 ? "nearest in the plane" : "nearest test image"; // what `neighbour` is
    this.isChosen = (label) => this.chosen.size === 0 || this.chosen.has(label);
    this.marks = new Marks($("marks"), this.map);
    const check = encoder && { loc: arrays.loc.numbers, scale: arrays.scale.numbers };
    this.drawing = encoder && new Drawing(this, encoder, data.drawing, check);
    this.interpolation = new Interpolation(this);
  }

  /** The latent at the probe: center + position @ axes. */
  latent(position = this.position) {
    const { center, axes } = this.arrays;
    return center.numbers.map((middle, j) => {
      let sum = middle;
      for (let i = 0; i < this.dimensions; i++) sum += position[i] * axes.numbers[i * center.numbers.length + j];
      return sum;
    });
  }

  /** The position of a latent, (z - center) @ axes': the inverse of `latent`. */
  project(z) {
    const { center, axes } = this.arrays, m = z.length;
    return this.position.map((_, i) => {
      let sum = 0;
      for (let j = 0; j < m; j++) sum += (z[j] - center.numbers[j]) * axes.numbers[i * m + j];
      return sum;
    });
  }

  /** The covariance on the map of latents with independent dimensions of these scales. */
  covariance(scale) {
    const { axes } = this.arrays, m = scale.length, rows = this.map.line ? [0, 0] : [0, 1];
    const sum = (a, b) => scale.reduce((total, s, j) => total + s * s * axes.numbers[a * m + j] * axes.numbers[b * m + j], 0);
    return rows.map((a) => rows.map((b) => sum(a, b)));
  }

  /** A position's place on the map; on a line, in the row of a point's class. */
  placeOf(position, point = 0) {
    return [position[0], this.map.line ? this.map.places[2 * point + 1] : position[1]];
  }

  image(point) {
    const size = this.shape[0] * this.shape[1] * this.shape[2];
    return this.arrays.images.numbers.subarray(point * size, (point + 1) * size);
  }

  /** The name of a point's image, without its class if there is only one. */
  imageName(point) {
    return this.data.classes.length > 1 ? `class ${this.className(point)}` : "a test image";
  }

  className(point) {
    return this.data.classes[this.arrays.labels.numbers[point]].name;
  }

  /** The probe's place on the map; on a line the rows belong to the classes, and the probe has none. */
  place() {
    return [this.position[0], this.map.line ? null : this.position[1]];
  }

  setPlace(place) {
    this.position.set(this.map.line ? place.slice(0, 1) : place);
  }

  moveTo(place) {
    this.setPlace(place);
    this.changed();
  }

  /** Move to a point's full latent, including the components off the plane. */
  moveToPoint(point) {
    this.position.set(this.arrays.coordinates.numbers.subarray(point * this.dimensions, (point + 1) * this.dimensions));
    this.changed();
  }

  /** Draw everything that depends on the probe before the next frame. */
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
    if (this.drawing?.stale) this.drawing.update();
    const z = this.latent(), mean = this.decode(z);
    drawImage($("decoded"), mean, this.shape);
    const { top, height } = this.map.frame, [x, y] = this.map.toPixels(...this.place());
    $("probe").style.setProperty("--height", `${height}px`);
    $("probe").style.transform = `translate(${x}px, ${this.map.line ? top + height / 2 : y}px)`;
    this.neighbour = this.nearestToProbe();
    this.drawNeighbour();
    if (this.dragging) this.showTip(this.dragging, mean, 1, "");
    const numbers = Array.from(z, (value) => written(value)).join(", ");
    $("numbers").textContent = `${this.name} = (${numbers})`;
    if (this.mode === "draw") this.drawing.draw(this.marks);
    if (this.mode === "interpolate") this.interpolation.draw(this.marks);
    $("decoded-name").textContent = this.mode === "draw" && this.drawing.atMean ? "Reconstruction" : "Decoded";
    this.sliders?.forEach(({ input, output, axis }) => {
      input.value = this.position[axis];
      output.textContent = written(this.position[axis]);
    });
    if (this.sliders) $("reset").disabled = this.position.slice(2).every((value) => value === 0);
    clearTimeout(this.saying);
    this.saying = setTimeout(() => ($("status").textContent = this.described()), 400);
  }

  nearestToProbe() {
    return this.map.nearest(this.place(), this.isChosen).point;
  }

  described() {
    const [x, y] = this.place(), where = y === null ? written(x) : `${written(x)}, ${written(y)}`;
    const what = this.mode === "draw" && this.drawing.atMean ? "Your drawing's mean" : "Probe";
    return `${what} at ${where}; ${this.nearestIs}: ${this.imageName(this.neighbour)}.`;
  }

  /** The point whose test image is shown: the one under the pointer, or otherwise the nearest to the probe. */
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
      if (this.mode === "interpolate") this.interpolation.choose(this.nearestToProbe());
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
      this.map.shade = null; // its colours depend on the colour scheme
      this.drawMap();
    });
  }

  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return; // the browser's own, such as back
    const [[left, right], [bottom, top]] = this.map.limits, size = event.shiftKey ? 5 * STEP : STEP;
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] };
    const [across, up] = ways[event.key] ?? [0, 0];
    if (event.key === "Enter" && this.mode === "interpolate") this.interpolation.choose(this.nearestToProbe());
    else if (event.key === "Enter") this.moveToPoint(this.neighbour);
    else if (event.key === "Home") this.moveTo(this.map.home());
    else if (across || up) {
      const [x, y] = this.place();
      this.moveTo(this.map.within([x + across * size * (right - left), y + up * size * (top - bottom)]));
    } else return;
    event.preventDefault();
  }

  /** The difference between the browser's decoder and JAX's, at the latent in the page's data. */
  difference() {
    return apart(this.decode(this.arrays.z.numbers), this.arrays.mean.numbers);
  }
}
