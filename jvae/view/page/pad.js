"use strict";
// The pad: marks made with a mouse, a finger or the keyboard, and undone.

class Pad {
  /** `element` holds a canvas and the mark of the keyboard's pen. `changed` is called after every change. */
  constructor(element, shape, pen, changed) {
    Object.assign(this, { element, shape, pen, changed, marks: [], erases: false });
    this.size = shape.slice(0, 2);
    [this.canvas, this.cursor] = element.children;
    this.at = [shape[1], shape[0]].map((side) => Math.floor(side / 2) + 0.5); // the place of the keyboard's pen
    this.listen();
    this.draw();
  }

  get blank() {
    return this.pixels.every((ink) => ink === 0);
  }

  draw() {
    this.pixels = render(this.marks, this.size, this.pen);
    drawImage(this.canvas, this.pixels, [...this.size, 1]);
    const [x, y] = this.at;
    this.cursor.style.left = `${(100 * x) / this.shape[1]}%`;
    this.cursor.style.top = `${(100 * y) / this.shape[0]}%`;
    this.cursor.classList.toggle("down", this.down === true);
  }

  /** Redraw and report after a change of the marks. */
  update() {
    this.draw();
    this.changed();
  }

  undo() {
    this.marks.pop();
    this.update();
  }

  /** Replace all marks by an image, which can be undone. */
  load(numbers) {
    this.marks.push({ image: { numbers, shape: this.size } });
    this.update();
  }

  clear() {
    if (!this.blank) this.load(new Float32Array(this.size[0] * this.size[1]));
  }

  begin(point) {
    this.marks.push({ points: [point], erases: this.erases });
    this.update();
  }

  extend(points) {
    this.marks.at(-1).points.push(...points);
    this.update();
  }

  listen() {
    const { element } = this;
    const place = (event) => {
      const box = this.canvas.getBoundingClientRect();
      return [
        ((event.clientX - box.left) / box.width) * this.shape[1],
        ((event.clientY - box.top) / box.height) * this.shape[0],
      ];
    };
    element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !event.isPrimary || this.pointer !== undefined) return;
      element.setPointerCapture(event.pointerId);
      this.pointer = event.pointerId;
      this.down = false;
      this.begin(place(event));
    });
    element.addEventListener("pointermove", (event) => {
      if (event.pointerId !== this.pointer) return;
      const all = event.getCoalescedEvents?.() ?? [];
      this.extend((all.length ? all : [event]).map(place));
    });
    element.addEventListener("lostpointercapture", (event) => {
      if (event.pointerId === this.pointer) this.pointer = undefined;
    });
    element.addEventListener("keydown", (event) => this.key(event));
    element.addEventListener("blur", () => {
      this.down = false;
      this.draw();
    });
  }

  key(event) {
    const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
    const way = ways[event.key], limits = [this.shape[1], this.shape[0]], undoes = event.key === "z";
    if (this.pointer !== undefined || event.altKey || (event.ctrlKey || event.metaKey) !== undoes) return;
    if (way) {
      this.at = this.at.map((value, i) => held(value + way[i], 0.5, limits[i] - 0.5));
      if (this.down) this.extend([this.at]);
      else this.draw();
    } else if (event.key === " ") {
      if (event.repeat) return event.preventDefault();
      this.down = !this.down;
      if (this.down) this.begin(this.at);
      else this.draw();
    } else if (event.key === "Backspace" || undoes) {
      this.down = false;
      this.undo();
    } else if (event.key === "Delete") {
      this.down = false;
      this.clear();
    } else return;
    event.preventDefault();
  }
}
