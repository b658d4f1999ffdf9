"use strict";
// A drawing: the pad's posterior, on the map and in numbers.

const SIGHT = {
  binary: "1 where a pixel is at least ½, else 0",
  rescaled: "pixels from 0 to 1",
  dequantised: "(pixel + ½) / 256, the mean of dequantisation",
};

class Drawing {
  /** rule: {box, middle}, the placement of the data set's images; check: {loc, scale}, JAX's for the first image. */
  constructor(explorer, encoder, rule, check) {
    Object.assign(this, { explorer, ...encoder, rule, check, shape: explorer.shape, stale: true });
    this.pen = rule.box / 8; // about the width of MNIST's strokes
    this.pad = new Pad($("pad"), this.shape, this.pen, () => this.change());
    $("sight").querySelector("span").textContent = SIGHT[this.seen];
    const { box, middle } = rule, off = Math.max(Math.abs(middle[0] - this.shape[1] / 2), Math.abs(middle[1] - this.shape[0] / 2));
    const where = off < 0.6 ? "in the middle" : `at ${middle.map((value) => value.toFixed(1)).join(", ")}`;
    $("rule").textContent = `Placed as the test images: in a box of ${Number(box.toFixed(1))} pixels, with the centre ` +
      `of mass ${where}; otherwise as drawn`;
    $("undo").addEventListener("click", () => this.pad.undo());
    $("clear").addEventListener("click", () => this.pad.clear());
    $("eraser").addEventListener("click", () => {
      this.pad.erases = !this.pad.erases;
      $("eraser").setAttribute("aria-pressed", String(this.pad.erases));
    });
    $("edit").addEventListener("click", () => {
      this.pad.load(Float32Array.from(explorer.image(explorer.neighbour), (pixel) => pixel / 255));
    });
    $("centre").addEventListener("change", () => this.change());
    $("to-mean").addEventListener("click", () => this.toMean());
  }

  /** Encode before the next frame. A drawing that begins with a test image is placed already, and stays as it is. */
  change() {
    const ground = this.pad.marks.findLast(({ image }) => image)?.image;
    if (ground !== this.ground) $("centre").checked = !ground?.numbers.some((ink) => ink > 0);
    Object.assign(this, { ground, stale: true });
    this.explorer.changed();
  }

  /** The pixels, from 0 to 255, that the model receives. */
  image() {
    const { pad, shape, pen, rule } = this;
    const ink = $("centre").checked ? renderCentred(pad.marks, pad.size, pen, rule) : pad.pixels;
    return Uint8Array.from(ink, (value) => Math.round(255 * value));
  }

  /** Encode the drawing, and move the probe to its posterior mean. */
  update() {
    const x = this.see(this.image());
    drawImage($("sight").firstElementChild, x, [...this.pad.size, 1]);
    this.stale = false;
    this.q = this.pad.blank ? undefined : this.encode(x);
    this.mean = this.q && this.explorer.project(this.q.loc);
    if (this.q) this.explorer.position.set(this.mean);
  }

  toMean() {
    this.explorer.position.set(this.mean);
    this.explorer.changed();
  }

  /** True if the probe is at the drawing's posterior mean, so that the decoded image is its reconstruction. */
  get atMean() {
    return this.q !== undefined && this.mean.every((value, i) => value === this.explorer.position[i]);
  }

  /** Draw everything that depends on the posterior and the probe. */
  draw(marks) {
    const { q, explorer } = this;
    $("to-mean").disabled = !q || this.atMean;
    $("undo").disabled = this.pad.marks.length === 0;
    $("clear").disabled = this.pad.blank;
    marks.showPosterior(q && explorer.placeOf(this.mean), q && explorer.covariance(q.scale));
    const pairs = q && Array.from(q.loc, (loc, j) => `${written(loc)}\u00a0±\u00a0${written(q.scale[j])}`);
    $("posterior").textContent = q ? `q(${explorer.name}|x): ${pairs.join(", ")}` : "Nothing is drawn yet.";
  }

  /** The difference between the browser's encoder and JAX's at the first test image. */
  difference() {
    const { loc, scale } = this.encode(this.see(this.explorer.image(0)));
    return Math.max(apart(loc, this.check.loc), apart(scale, this.check.scale));
  }
}
