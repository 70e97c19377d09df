// A mosaic of slices -> three planes through a point, with the vertebrae near them.
// Voxels lie along the patient's axes: x to the left, y to the back, z up.
"use strict";
var vertloc = window.vertloc || {};

// Make an element: vertloc.h("p", {class: "quiet"}, "text", child, ...). Text is never markup.
vertloc.h = function (name, attributes, ...children) {
  const svg = ["svg", "line", "circle", "path", "text", "image", "g", "title", "rect"].includes(name);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
};

// How sure: colour and shape, so that the colour alone need not be told apart.
vertloc.sureness = function (confidence) {
  if (confidence === null || confidence === undefined) return { kind: "unknown", colour: "#43d3ff", glyph: "●" };
  if (confidence >= 0.9) return { kind: "high", colour: "#4be37a", glyph: "●" };
  if (confidence >= vertloc.settings.low) return { kind: "middle", colour: "#ffb638", glyph: "◆" };
  return { kind: "low", colour: "#ff6b61", glyph: "▲" };
};

vertloc.sign = function (confidence, x, y, size) {
  const { kind, colour } = vertloc.sureness(confidence);
  const style = { fill: colour, stroke: "#000", "stroke-width": size / 6 };
  if (kind === "middle") return vertloc.h("path", { d: `M${x} ${y - size}l${size} ${size}l${-size} ${size}l${-size} ${-size}z`, ...style });
  if (kind === "low") return vertloc.h("path", { d: `M${x} ${y - size}l${size} ${1.8 * size}h${-2 * size}z`, ...style });
  return vertloc.h("circle", { cx: x, cy: y, r: 0.85 * size, ...style });
};

vertloc.Viewer = class {
  static PLANES = {
    sagittal: { along: "x", right: "y", down: "z", upwards: true, sides: ["A", "P"], words: "sagittal" },
    coronal: { along: "y", right: "x", down: "z", upwards: true, sides: ["R", "L"], words: "coronal" },
    axial: { along: "z", right: "x", down: "y", upwards: false, sides: ["R", "L"], words: "axial" },
  };
  static WINDOWS = { bone: [-200, 800], "soft tissue": [-150, 250], wide: [-250, 1250] };
  static AXES = ["x", "y", "z"];
  static SLAB_MM = 7;

  constructor(volume, levels) {
    this.volume = volume;
    this.levels = levels;
    this.n = { x: volume.shape[2], y: volume.shape[1], z: volume.shape[0] };
    this.at = { x: this.n.x >> 1, y: this.n.y >> 1, z: this.n.z >> 1 };
    this.window = "bone";
    this.panels = {};
    this.element = this.build();
    this.ready = this.decode();
  }

  // Read the picture's grey values once; drawing is then a matter of looking them up.
  async decode() {
    const image = new Image();
    image.src = this.volume.image;
    await image.decode();
    const canvas = vertloc.h("canvas", { width: image.width, height: image.height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const { n } = this, columns = this.volume.columns;
    this.voxels = new Uint8Array(n.x * n.y * n.z);
    for (let z = 0; z < n.z; z++) {
      const tile = context.getImageData((z % columns) * n.x, Math.floor(z / columns) * n.y, n.x, n.y).data;
      for (let i = 0, to = z * n.x * n.y; i < tile.length; i += 4) this.voxels[to++] = tile[i];
    }
    this.draw();
    return this;
  }

  build() {
    const { h } = vertloc;
    const choice = h("select", { id: "window", change: (event) => { this.window = event.target.value; this.draw(); } },
      Object.keys(this.constructor.WINDOWS).map((name) => h("option", { value: name }, name)));
    this.where = h("p", { class: "quiet where", "aria-live": "off" });
    return h("div", { class: "viewer" },
      h("div", { class: "viewer-tools" }, h("label", { for: "window" }, "Window"), choice, this.where),
      h("div", { class: "planes" }, Object.keys(this.constructor.PLANES).map((name) => this.buildPlane(name))),
      h("p", { class: "quiet" }, "Drag to move through the scan; after a click in a picture, the wheel turns its slices. Shown are points within ",
        `${this.constructor.SLAB_MM} mm of the slice.`));
  }

  buildPlane(name) {
    const { h } = vertloc, plane = this.constructor.PLANES[name];
    const width = this.n[plane.right], height = this.n[plane.down];
    const canvas = h("canvas", { width, height, role: "img", "aria-label": `${plane.words} slice`, "data-plane": name });
    const marks = h("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    const slider = h("input", { type: "range", min: 0, max: this.n[plane.along] - 1, "aria-label": `${plane.words} slice`,
      input: () => this.moveTo({ [plane.along]: Number(slider.value) }) });
    const box = h("div", { class: "plane-box", tabindex: 0, role: "group", "aria-label": `${plane.words} plane` }, canvas, marks,
      h("span", { class: "corner left", "aria-hidden": "true" }, plane.sides[0]), h("span", { class: "corner right", "aria-hidden": "true" }, plane.sides[1]));
    box.style.setProperty("--ratio", width / height);
    box.addEventListener("pointerdown", (event) => { box.setPointerCapture(event.pointerId); box.focus({ preventScroll: true }); this.point(name, box, event); });
    box.addEventListener("pointermove", (event) => { if (event.buttons) this.point(name, box, event); });
    box.addEventListener("wheel", (event) => {
      if (document.activeElement !== box) return;
      event.preventDefault();
      this.moveTo({ [plane.along]: this.at[plane.along] - Math.sign(event.deltaY) });
    }, { passive: false });
    this.panels[name] = { canvas, marks, slider, context: canvas.getContext("2d") };
    return h("figure", { class: `plane ${name}` }, box, slider, h("figcaption", {}, plane.words));
  }

  point(name, box, event) {
    const plane = this.constructor.PLANES[name], rectangle = box.getBoundingClientRect();
    const right = Math.floor(((event.clientX - rectangle.left) / rectangle.width) * this.n[plane.right]);
    const down = Math.floor(((event.clientY - rectangle.top) / rectangle.height) * this.n[plane.down]);
    this.moveTo({ [plane.right]: right, [plane.down]: plane.upwards ? this.n[plane.down] - 1 - down : down });
  }

  // Go to voxel indices; axes that are not given stay.
  moveTo(place) {
    for (const axis of this.constructor.AXES) {
      if (place[axis] !== undefined) this.at[axis] = Math.min(this.n[axis] - 1, Math.max(0, Math.round(place[axis])));
    }
    this.draw();
  }

  // Go to world millimetres [x, y, z].
  moveToPoint(point) {
    const index = this.index(point);
    this.moveTo({ x: index[0], y: index[1], z: index[2] });
  }

  index(point) {
    return point.map((value, i) => (value - this.volume.first[i]) / this.volume.spacing);
  }

  draw() {
    if (!this.voxels) return;
    const [low, high] = this.volume.range, [black, white] = this.constructor.WINDOWS[this.window];
    const table = new Uint8ClampedArray(256);
    for (let i = 0; i < 256; i++) table[i] = ((low + (i / 255) * (high - low) - black) / (white - black)) * 255;
    for (const name of Object.keys(this.panels)) this.drawPlane(name, table);
    const world = this.constructor.AXES.map((axis, i) => (this.volume.first[i] + this.at[axis] * this.volume.spacing).toFixed(0));
    this.where.textContent = `x ${world[0]}, y ${world[1]}, z ${world[2]} mm`;
  }

  drawPlane(name, table) {
    const plane = this.constructor.PLANES[name], panel = this.panels[name], { n, at } = this;
    const width = n[plane.right], height = n[plane.down];
    const step = { x: 1, y: n.x, z: n.x * n.y };
    const image = panel.context.createImageData(width, height);
    for (let row = 0, to = 0; row < height; row++) {
      const down = plane.upwards ? height - 1 - row : row;
      let from = at[plane.along] * step[plane.along] + down * step[plane.down];
      for (let column = 0; column < width; column++, from += step[plane.right], to += 4) {
        const grey = table[this.voxels[from]];
        image.data[to] = image.data[to + 1] = image.data[to + 2] = grey;
        image.data[to + 3] = 255;
      }
    }
    panel.context.putImageData(image, 0, 0);
    panel.slider.value = at[plane.along];
    const label = `${plane.words} slice ${at[plane.along] + 1} of ${n[plane.along]}${this.near()}`;
    panel.canvas.setAttribute("aria-label", label);
    panel.slider.setAttribute("aria-valuetext", label);
    this.drawMarks(plane, panel, width, height);
  }

  near() {
    const distance = (level) => Math.hypot(...this.index(level.found || level.true).map((v, i) => v - this.at[this.constructor.AXES[i]]));
    const shown = this.levels.filter((level) => level.found || level.true).sort((a, b) => distance(a) - distance(b));
    return shown.length && distance(shown[0]) * this.volume.spacing < 20 ? `, at ${shown[0].label}` : "";
  }

  drawMarks(plane, panel, width, height) {
    const { h } = vertloc, size = 2.6 / this.volume.spacing;
    const place = (point) => {
      const index = Object.fromEntries(this.index(point).map((value, i) => [this.constructor.AXES[i], value]));
      const down = plane.upwards ? height - 1 - index[plane.down] : index[plane.down];
      return { x: index[plane.right] + 0.5, y: down + 0.5, off: Math.abs(index[plane.along] - this.at[plane.along]) * this.volume.spacing };
    };
    const cross = [this.at[plane.right] + 0.5, (plane.upwards ? height - 1 - this.at[plane.down] : this.at[plane.down]) + 0.5];
    const line = { class: "cross", "vector-effect": "non-scaling-stroke" };
    panel.marks.replaceChildren(
      h("line", { x1: cross[0], x2: cross[0], y1: 0, y2: height, ...line }),
      h("line", { x1: 0, x2: width, y1: cross[1], y2: cross[1], ...line }));
    for (const level of this.levels) {
      const truth = level.true && place(level.true), found = level.found && place(level.found);
      if (truth && truth.off <= this.constructor.SLAB_MM) {
        panel.marks.append(h("circle", { cx: truth.x, cy: truth.y, r: 1.25 * size, class: "truth", "stroke-width": size / 3 }));
      }
      if (found && found.off <= this.constructor.SLAB_MM) {
        const colour = vertloc.sureness(level.confidence).colour;
        const text = h("text", { x: found.x + 1.8 * size, y: found.y + 0.9 * size, fill: colour, "font-size": 3.2 * size, class: "name" }, level.label);
        panel.marks.append(h("g", { "data-label": level.label }, vertloc.sign(level.confidence, found.x, found.y, size), text));
      }
    }
  }
};
