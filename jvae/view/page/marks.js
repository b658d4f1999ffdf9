"use strict";
// Marks on the map: a drawing's posterior, and the line between two images.

class Marks {
  constructor(svg, map) {
    Object.assign(this, { svg, map });
  }

  /** Show N(mean, covariance) in the map's coordinates, a 2x2 matrix [[xx, xy], [xy, yy]]; nothing without a mean. */
  showPosterior(mean, [[xx, xy], [, yy]] = [[], []]) {
    const group = this.svg.querySelector(".posterior");
    group.toggleAttribute("hidden", !mean);
    if (!mean) return;
    const { frame, limits, line } = this.map, [[left, right], [bottom, top]] = limits;
    const [sx, sy] = [frame.width / (right - left), frame.height / (bottom - top)]; // y points down on the screen
    const [a, b, d] = [xx * sx * sx, xy * sx * sy, yy * sy * sy];
    const middle = (a + d) / 2, half = Math.hypot((a - d) / 2, b), angle = (90 / Math.PI) * Math.atan2(2 * b, a - d);
    const [x, y] = this.map.toPixels(...mean);
    group.setAttribute("transform", line ? `translate(${x} ${frame.top})` : `translate(${x} ${y}) rotate(${angle})`);
    [2, 1].forEach((scales, i) => {
      const [rx, ry] = [line ? a : middle + half, middle - half].map((v) => Math.max(1.5, scales * Math.sqrt(Math.max(v, 0))));
      const arc = `A ${rx} ${ry} 0 1 0`;
      const path = line ? `M ${-rx} 0 H ${rx} V ${frame.height} H ${-rx} Z` : `M ${-rx} 0 ${arc} ${rx} 0 ${arc} ${-rx} 0 Z`;
      group.children[i].setAttribute("d", path);
    });
  }

  /** Show a line between two places. */
  showLine(...ends) {
    const [line, ...letters] = this.svg.querySelector(".line").children;
    ends.map((place) => this.map.toPixels(...place)).forEach(([x, y], i) => {
      line.setAttribute(`x${i + 1}`, x);
      line.setAttribute(`y${i + 1}`, y);
      letters[i].setAttribute("transform", `translate(${x} ${y})`);
    });
  }
}
