// The data of a scan -> its curved views with points and names, and the table of its levels.
"use strict";

vertloc.curvedView = function (view, levels, choose) {
  const { h } = vertloc, [width, height] = view.size, size = view.letters;
  const confidence = Object.fromEntries(levels.map((level) => [level.label, level]));
  const svg = h("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": vertloc.inWords(view.plane, view.found) },
    h("image", { href: view.image, x: 0, y: 0, width, height, preserveAspectRatio: "none" }));
  const truth = h("g", { class: "truth-layer" }), found = h("g", { class: "found-layer" });
  for (const mark of view.true) {
    const [x, y] = mark.at, [nx, ny] = mark.name, level = confidence[mark.label];
    const lost = level.status === "missed" ? " missed" : "";
    truth.append(h("line", { x1: x, y1: y, x2: nx, y2: ny, class: `leader truth${lost}` }));
    truth.append(h("circle", { cx: x, cy: y, r: 0.5 * size, class: `truth${lost}`, "stroke-width": size / 8 }));
    truth.append(h("text", { x: nx - 1, y: ny + 0.35 * size, class: `name truth${lost}`, "font-size": size, "text-anchor": "end" }, mark.text));
    const pair = view.found.find((other) => other.label === mark.label);
    if (pair) truth.append(h("line", { x1: x, y1: y, x2: pair.at[0], y2: pair.at[1], class: "pair", stroke: vertloc.sureness(level.confidence).colour }));
  }
  for (const mark of view.found) {
    const [x, y] = mark.at, [nx, ny] = mark.name, level = confidence[mark.label], { colour } = vertloc.sureness(level.confidence);
    const wrong = level.status === "wrong" ? " ✖" : "";
    const group = h("g", { class: "mark", "data-label": mark.label, click: () => choose(mark.label) },
      h("line", { x1: x, y1: y, x2: nx, y2: ny, class: "leader", stroke: colour }),
      vertloc.sign(level.confidence, x, y, 0.45 * size),
      h("text", { x: nx + 1, y: ny + 0.35 * size, class: "name", fill: colour, "font-size": size }, mark.text + wrong));
    found.append(group);
  }
  svg.append(truth, found,
    h("text", { x: 2, y: 1.3 * size, class: "side-letter", "font-size": size }, view.sides[0]),
    h("text", { x: width - 2, y: 1.3 * size, class: "side-letter", "font-size": size, "text-anchor": "end" }, view.sides[1]));
  const bar = width > 120 ? 50 : 20;
  svg.append(h("line", { x1: 4, x2: 4 + bar, y1: height - 5, y2: height - 5, class: "scale" }),
    h("text", { x: 6 + bar, y: height - 5 + 0.35 * size, class: "side-letter", "font-size": size }, `${bar / 10} cm`));
  const figure = h("figure", { class: "curved" }, svg, h("figcaption", {}, `curved ${view.plane}`));
  figure.style.setProperty("--ratio", width / height);
  return figure;
};

vertloc.inWords = function (plane, found) {
  if (!found.length) return `Curved ${plane} view without a vertebra`;
  return `Curved ${plane} view, ${found.length} vertebrae from ${found[0].label} to ${found[found.length - 1].label}; the table of levels has their confidence`;
};

vertloc.percent = (share) => `${(100 * share).toFixed(0)} %`;

vertloc.levelTable = function (levels, choose) {
  const { h, percent } = vertloc;
  const judged = levels.some((level) => level.status !== "unjudged"), other = levels.some((level) => level.alternatives.length);
  const head = ["level", "confidence", other ? "or else" : null, judged ? "result" : null, judged ? "error" : null].filter(Boolean);
  const row = (level) => {
    const { kind, glyph } = vertloc.sureness(level.confidence);
    const known = level.confidence !== null && level.confidence !== undefined;
    const bar = h("span", { class: `bar ${kind}`, "aria-hidden": "true" });
    bar.style.setProperty("--share", known ? level.confidence : 0);
    const button = h("button", { type: "button", class: "level", disabled: !(level.found || level.true), click: () => choose(level.label) }, level.label);
    const result = level.status === "wrong" ? `wrong level${level.nearest ? `: is ${level.nearest}` : ""}` : vertloc.settings.signs[level.status].meaning;
    return h("tr", { "data-label": level.label, class: level.status },
      h("th", { scope: "row" }, button),
      h("td", { class: "sure" }, known && level.found ? [h("span", { class: `glyph ${kind}`, "aria-hidden": "true" }, glyph), bar, ` ${percent(level.confidence)}`] : level.found ? "–" : "not found"),
      other ? h("td", {}, level.alternatives.map(([name, p]) => `${name} ${percent(p)}`).join(", ")) : null,
      judged ? h("td", {}, result) : null,
      judged ? h("td", { class: "number" }, level.error === null ? "–" : `${level.error.toFixed(1)} mm`) : null);
  };
  return h("table", { class: "levels" }, h("caption", { class: "unseen" }, "Levels, from top to bottom"),
    h("thead", {}, h("tr", {}, head.map((text) => h("th", { scope: "col" }, text)))), h("tbody", {}, levels.map(row)));
};
