"use strict";
// An interpolation: two test images, the straight line between their posterior means, and the decoded images on it.

const STRIP = 9; // images

class Interpolation {
  constructor(explorer) {
    const labels = explorer.arrays.labels.numbers, other = labels.findIndex((label) => label !== labels[0]);
    Object.assign(this, { explorer, points: [0, other < 0 ? explorer.n - 1 : other], end: 0, share: 0 });
    this.figures = [...document.querySelectorAll(".end")];
    this.radios = this.figures.map((figure) => figure.querySelector("input"));
    for (let i = 0; i < STRIP; i++) $("strip").append(document.createElement("canvas"));
    this.radios.forEach((radio, end) => radio.addEventListener("change", () => (this.end = end)));
    $("share").addEventListener("input", () => this.walkTo(Number($("share").value)));
    $("strip").addEventListener("click", (event) => {
      const image = [...$("strip").children].indexOf(event.target);
      if (image >= 0) this.walkTo(image / (STRIP - 1));
    });
  }

  /** Set the current end to a point, and move the probe there; the other end is next. */
  choose(point) {
    this.points[this.end] = point;
    this.strip = undefined;
    this.walkTo(this.end);
    this.end = 1 - this.end;
    this.radios[this.end].checked = true;
  }

  walkTo(share) {
    this.share = share;
    this.explorer.position.set(this.at(share));
    this.explorer.changed();
  }

  /** The position of a point's posterior mean. */
  mean(point) {
    const { dimensions, arrays } = this.explorer;
    return arrays.means.numbers.subarray(point * dimensions, (point + 1) * dimensions);
  }

  at(share) {
    const [a, b] = this.points.map((point) => this.mean(point));
    return a.map((value, i) => (1 - share) * value + share * b[i]);
  }

  draw(marks) {
    const { explorer, points, share } = this, names = points.map((point) => explorer.imageName(point));
    marks.showLine(...[0, 1].map((end) => explorer.placeOf(this.at(end), points[end])));
    $("share").value = share;
    $("share").setAttribute("aria-valuetext", `${Math.round(100 * share)} % of the way from ${names[0]} to ${names[1]}`);
    if (this.strip) return;
    this.strip = [...$("strip").children];
    this.strip.forEach((canvas, i) => {
      drawImage(canvas, explorer.decode(explorer.latent(this.at(i / (STRIP - 1)))), explorer.shape);
    });
    this.figures.forEach((figure, end) => {
      drawImage(figure.firstElementChild, explorer.image(points[end]), explorer.shape, 255);
      figure.firstElementChild.setAttribute("aria-label", `Test image ${"AB"[end]}: ${names[end]}`);
      figure.querySelector("span").textContent = names[end];
    });
  }
}
