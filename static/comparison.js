// Linked crops: one frame on the low-resolution image, and what every method made of that place. A classic script,
// because browsers load no modules from files.

"use strict";

(() => {
  const ZOOMS = { min: 1, max: 8 };
  const START = 256; // CSS pixels along a side that a crop takes at first, about
  const LARGEST = 1024; // CSS pixels
  const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const between = (low, value, high) => Math.max(low, Math.min(value, high));

  class Comparison {
    constructor(root) {
      this.root = root;
      this.size = { width: Number(root.dataset.width), height: Number(root.dataset.height) };
      this.scale = Number(root.dataset.scale);
      this.frame = root.querySelector(".crop");
      this.overview = root.querySelector(".overview img");
      this.fields = root.querySelector("form").elements;
      this.views = [...root.querySelectorAll(".view")].map((figure) => new View(figure, this));
      const [x, y, width, height] = root.dataset.crop.split(",").map(Number);
      this.zoom = between(ZOOMS.min, Math.round((START * devicePixelRatio) / (Math.max(width, height) * this.scale)), ZOOMS.max);
      this.resize({ x, y, width, height });
      this.listen();
    }

    // The crop and its zoom, as far as they are possible; then everything is drawn anew.
    show({ x, y, width, height }) {
      this.width = between(1, width, Math.min(this.size.width, this.most(this.root.querySelector(".views").clientWidth)));
      this.height = between(1, height, Math.min(this.size.height, this.most(LARGEST)));
      this.x = between(0, Math.round(x), this.size.width - this.width);
      this.y = between(0, Math.round(y), this.size.height - this.height);
      this.describe();
      for (const view of this.views) view.draw();
    }

    // How many LR pixels fit into a length of the page.
    most(length) {
      return Math.max(1, Math.floor((Math.min(length, LARGEST) * devicePixelRatio) / (this.scale * this.zoom)));
    }

    move(x, y) {
      this.show({ x, y, width: this.width, height: this.height });
      this.centre = [this.x + this.width / 2, this.y + this.height / 2];
    }

    resize(crop) {
      this.show(crop);
      this.centre = [this.x + this.width / 2, this.y + this.height / 2];
      this.taken = [this.width * this.zoom, this.height * this.zoom];
    }

    // The centre stays, and so does what the crops take on the page; back at the old zoom, all is as it was.
    magnify(zoom) {
      this.zoom = between(ZOOMS.min, zoom, ZOOMS.max);
      const [width, height] = this.taken.map((side) => Math.round(side / this.zoom));
      this.show({ x: this.centre[0] - width / 2, y: this.centre[1] - height / 2, width, height });
    }

    describe() {
      const { x, y, width, height, zoom } = this;
      const part = (value, whole) => `${(100 * value) / whole}%`;
      Object.assign(this.frame.style, {
        left: part(x, this.size.width),
        top: part(y, this.size.height),
        width: part(width, this.size.width),
        height: part(height, this.size.height),
      });
      for (const [name, value] of Object.entries({ x, y, width, height, zoom })) this.fields[name].value = value;
      this.root.querySelector(".times").textContent = `${zoom}×`;
      this.root.querySelector(".for-print").textContent = `${x},${y},${width},${height}`;
      this.root.querySelector("[role=status]").textContent = `x ${x}, y ${y}, ${width} by ${height}, zoom ${zoom}`;
    }

    listen() {
      this.frame.addEventListener("keydown", (event) => this.press(event));
      this.frame.closest(".overview").addEventListener("pointerdown", (event) => this.grab(event));
      this.root.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
      this.root.querySelector("form").addEventListener("input", ({ target }) => this.enter(target));
      this.root.querySelector("form").addEventListener("change", () => this.describe());
      // The window moved to another screen, or the page was zoomed: device pixels are of another size.
      addEventListener("resize", () => this.show(this));
    }

    press(event) {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const zooms = { "+": 1, "=": 1, "-": -1 };
      if (event.key in zooms) {
        this.magnify(this.zoom + zooms[event.key]);
      } else if (event.key in STEPS) {
        const [across, down] = STEPS[event.key];
        const { x, y, width, height } = this;
        if (event.shiftKey) this.resize({ x, y, width: width + across, height: height + down });
        else this.move(x + across, y + down);
      } else {
        return;
      }
      event.preventDefault();
    }

    enter({ name, validity, valueAsNumber }) {
      if (!validity.valid) return;
      if (name === "zoom") this.magnify(valueAsNumber);
      else this.resize({ x: this.x, y: this.y, width: this.width, height: this.height, [name]: Math.round(valueAsNumber) });
    }

    // The corner resizes, the rest of the frame moves it; a press beside the frame brings it there first.
    grab(event) {
      if (event.button !== 0) return;
      const lowPixel = this.overview.getBoundingClientRect().width / this.size.width;
      if (!this.frame.contains(event.target)) {
        const box = this.overview.getBoundingClientRect();
        const [x, y] = [(event.clientX - box.left) / lowPixel, (event.clientY - box.top) / lowPixel];
        this.move(x - this.width / 2, y - this.height / 2);
      }
      const { x, y, width, height } = this;
      this.frame.focus();
      drag(event, (across, down) => {
        const [right, below] = [across / lowPixel, down / lowPixel];
        if (!event.target.classList.contains("corner")) this.move(x + right, y + below);
        else this.resize({ x, y, width: Math.round(width + right), height: Math.round(height + below) });
      });
    }
  }

  // One image at the place of the crop, in whole device pixels.
  class View {
    constructor(figure, comparison) {
      this.comparison = comparison;
      this.canvas = figure.querySelector("canvas");
      this.image = new Image();
      this.image.addEventListener("load", () => {
        this.draw();
        figure.dataset.loaded = "true";
      });
      this.image.addEventListener("error", () => figure.querySelector("a").append(" (cannot be loaded)"));
      this.image.src = figure.dataset.image;
      this.canvas.addEventListener("pointerdown", (event) => this.grab(event));
    }

    draw() {
      const { x, y, width, height, zoom, scale, size } = this.comparison;
      const { canvas, image } = this;
      canvas.width = width * scale * zoom;
      canvas.height = height * scale * zoom;
      canvas.style.width = `${canvas.width / devicePixelRatio}px`;
      canvas.style.height = `${canvas.height / devicePixelRatio}px`;
      if (!image.naturalWidth) return;
      const own = image.naturalWidth / size.width; // its pixels for each LR pixel; 1 in the LR image itself
      const context = canvas.getContext("2d");
      context.imageSmoothingEnabled = false;
      context.drawImage(image, x * own, y * own, width * own, height * own, 0, 0, canvas.width, canvas.height);
    }

    // The image follows the pointer, so the crop goes the other way.
    grab(event) {
      if (event.button !== 0) return;
      const { x, y, zoom, scale } = this.comparison;
      const lowPixel = (scale * zoom) / devicePixelRatio;
      drag(event, (across, down) => this.comparison.move(x - across / lowPixel, y - down / lowPixel));
    }
  }

  // Until the pointer is let go, say how far it has moved, in CSS pixels.
  function drag(start, moved) {
    start.preventDefault();
    const { currentTarget: element, pointerId } = start;
    element.setPointerCapture(pointerId);
    const move = (event) => moved(event.clientX - start.clientX, event.clientY - start.clientY);
    element.addEventListener("pointermove", move);
    element.addEventListener("lostpointercapture", () => element.removeEventListener("pointermove", move), { once: true });
  }

  for (const root of document.querySelectorAll(".comparison")) root.comparison = new Comparison(root);
})();
