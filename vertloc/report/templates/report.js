// The page itself: the list of scans, opening one, keys, ratings, colours.
"use strict";

(function () {
  const { h } = vertloc, $ = (id) => document.getElementById(id);
  const settings = (vertloc.settings = JSON.parse($("settings").textContent));
  const ratings = (vertloc.ratings = new vertloc.Ratings(settings));
  const indexOf = new Map(settings.scans.map((scan, i) => [scan.scan, i]));
  const loaded = new Map(), waiting = new Map(), KEPT = 8;
  let open = null, chosen = null;

  // Called by the files of the scans.
  vertloc.receive = function (index, data) {
    loaded.set(index, data);
    while (loaded.size > KEPT) loaded.delete(loaded.keys().next().value);
    waiting.get(index)?.resolve(data);
    waiting.delete(index);
  };

  function load(index) {
    if (loaded.has(index)) return Promise.resolve(loaded.get(index));
    if (settings.single) {
      vertloc.receive(index, JSON.parse($(`scan-${index}`).textContent));
      return Promise.resolve(loaded.get(index));
    }
    if (waiting.has(index)) return waiting.get(index).promise;
    const entry = {};
    entry.promise = new Promise((resolve, reject) => Object.assign(entry, { resolve, reject }));
    waiting.set(index, entry);
    const { file } = settings.scans[index];
    const script = h("script", { src: file, load: () => script.remove(), error: () => {
      waiting.delete(index);
      entry.reject(new Error(`${file} is not there; keep the folder “report” beside this page`));
    } });
    document.head.append(script);
    return entry.promise;
  }

  // The list.

  const items = [...$("scans").children];
  const isRated = (item) => ratings.get(item.dataset.name) !== undefined;
  const number = (key, sign) => (a, b) => sign * (Number(a.dataset[key]) - Number(b.dataset[key]));
  const byName = (a, b) => a.dataset.name.localeCompare(b.dataset.name, undefined, { numeric: true });
  const ORDERS = { look: number("index", 1), name: byName, least: number("least", 1), rate: number("rate", 1), error: number("error", -1), count: number("count", 1) };

  function shown() {
    return items.filter((item) => !item.hidden);
  }

  function arrange() {
    const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean), only = $("show").value;
    for (const item of items) {
      const wanted = { all: true, look: item.dataset.look === "1", rated: isRated(item), unrated: !isRated(item) }[only] ?? `cohort:${item.dataset.cohort}` === only;
      const text = `${item.dataset.text} ${ratings.words(item.dataset.name)}`;
      item.hidden = !wanted || !words.every((word) => text.includes(word));
    }
    items.sort((a, b) => ORDERS[$("sort").value](a, b) || byName(a, b));
    $("scans").append(...items);
    $("none").hidden = shown().length > 0;
    $("n-shown").textContent = `${shown().length} of ${items.length}`;
  }

  function showRatings() {
    for (const item of items) {
      const badge = item.querySelector(".rated"), words = ratings.words(item.dataset.name);
      badge.textContent = words;
      badge.hidden = !words;
    }
    $("n-rated").textContent = `(${ratings.list().length})`;
    $("save").disabled = !ratings.list().length;
  }

  // A scan.

  function choose(label) {
    if (!open) return;
    const level = open.data.levels.find((other) => other.label === label), point = level && (level.found || level.true);
    if (!point) return;
    chosen = label;
    open.viewer.moveToPoint(point);
    for (const element of $("scan").querySelectorAll("[data-label]")) element.classList.toggle("chosen", element.dataset.label === label);
    $("announce").textContent = `${label}${level.confidence === null ? "" : `, confidence ${vertloc.percent(level.confidence)}`}`;
  }

  function ratingBox(scan) {
    const current = ratings.get(scan.scan), name = "rating";
    const radio = (value, words, ...more) => h("span", { class: "choice" },
      h("label", {}, h("input", { type: "radio", name, value, checked: current?.rating === value, change: () => rate(value) }), ` ${words}`), more);
    const shift = h("select", { id: "shift", "aria-label": "How the levels are named", change: () => rate("wrong") },
      [3, 2, 1, 0, -1, -2, -3].map((n) => h("option", { value: n, selected: (current?.shift ?? 1) === n }, n ? `${Math.abs(n)} too ${n > 0 ? "low" : "high"} (${n > 0 ? "+" : "−"}${Math.abs(n)})` : "otherwise")));
    return h("fieldset", { class: "rating", id: "rating" }, h("legend", {}, "Your rating"),
      radio("right", "right"), radio("wrong", "wrong, by", " ", shift), radio("unsure", "unsure"),
      h("button", { type: "button", class: "plain", click: () => rate(null) }, "clear"));
  }

  function rate(rating) {
    if (!open) return;
    ratings.set(open.scan.scan, rating, Number($("shift").value));
    for (const input of $("rating").querySelectorAll("input")) input.checked = input.value === rating;
    showRatings();
    $("announce").textContent = rating ? `Rated ${ratings.words(open.scan.scan)}` : "Rating cleared";
  }

  function step(by) {
    const list = shown(), at = open ? list.findIndex((item) => Number(item.dataset.index) === open.index) : by > 0 ? -1 : list.length;
    return list[at + by];
  }

  function go(by) {
    const item = step(by);
    if (item) location.hash = item.querySelector("a").getAttribute("href");
    else $("announce").textContent = by > 0 ? "This is the last scan of the list" : "This is the first scan of the list";
  }

  function header(scan) {
    const move = (by, words, key) => h("button", { type: "button", disabled: !step(by), click: () => go(by), "aria-keyshortcuts": key }, words);
    const facts = [scan.cohort, scan.identified && `${scan.identified[0]} of ${scan.identified[1]} identified`, scan.seconds !== null && `${scan.seconds} s`].filter(Boolean);
    return [
      h("div", { class: "scan-head" }, h("h1", { id: "scan-title", tabindex: -1 }, scan.scan), h("div", { class: "moves" }, move(-1, "← Previous", "k"), move(1, "Next →", "j"))),
      h("p", { class: "quiet facts-line" }, h("span", { class: "path" }, scan.image), facts.map((fact) => [" · ", fact])),
      scan.concerns.length ? h("ul", { class: "box warn" }, scan.concerns.map((words) => h("li", {}, words))) : null,
    ];
  }

  function legend(levels) {
    const key = (confidence, words) => h("li", {}, h("span", { class: `glyph ${vertloc.sureness(confidence).kind}`, "aria-hidden": "true" }, vertloc.sureness(confidence).glyph), ` ${words}`);
    const low = vertloc.percent(settings.low), known = levels.some((level) => level.confidence !== null);
    return h("ul", { class: "legend" }, known ? [key(1, "sure (90 % and more)"), key(0.8, `${low} to 90 %`), key(0, `below ${low}`)] : null,
      levels.some((level) => level.true) ? h("li", {}, h("span", { class: "ring", "aria-hidden": "true" }, "○"), " annotated") : null);
  }

  async function showScan(index) {
    const scan = settings.scans[index], section = $("scan");
    open = { index, scan, data: { levels: [] }, viewer: { moveToPoint() {}, moveTo() {} } };
    chosen = null;
    section.replaceChildren(...header(scan).filter(Boolean));
    $("overview").hidden = true;
    section.hidden = false;
    document.title = `${scan.scan} – ${settings.run} – vertloc report`;
    mark(index);
    window.scrollTo(0, 0);
    $("scan-title").focus({ preventScroll: true });
    if (!scan.file) {
      section.append(ratingBox(scan), h("p", { class: "box bad" }, scan.problem || "There is nothing to show."));
      return;
    }
    const note = h("p", { class: "quiet" }, "Loading …");
    section.append(note);
    try {
      const data = await load(index);
      if (open.index !== index) return;
      note.remove();
      fill(section, scan, data);
      await open.viewer.ready;
      if (open.index === index) section.dataset.ready = index;
      ahead();
    } catch (error) {
      note.className = "box bad";
      note.textContent = error.message;
    }
  }

  function fill(section, scan, data) {
    const viewer = new vertloc.Viewer(data.volume, data.levels);
    Object.assign(open, { data, viewer });
    vertloc.viewer = viewer;
    const truth = data.levels.some((level) => level.true) ? h("label", {}, h("input", { type: "checkbox", checked: true, change: (event) => section.classList.toggle("no-truth", !event.target.checked) }), " annotation") : null;
    const names = h("label", {}, h("input", { type: "checkbox", checked: true, change: (event) => section.classList.toggle("no-names", !event.target.checked) }), " names");
    const { voxels, spacing, tilt } = data.stored;
    section.append(
      ratingBox(scan),
      h("div", { class: "seen" },
        h("div", { class: "curves" },
          h("div", { class: "switches" }, "Show ", names, truth),
          h("div", { class: "pair-of-curves", tabindex: 0, role: "region", "aria-label": "Curved views" }, data.views.map((view) => vertloc.curvedView(view, data.levels, choose))),
          legend(data.levels)),
        h("div", { class: "list-of-levels" }, h("h2", {}, "Levels"), data.levels.length ? h("div", { class: "scroll" }, vertloc.levelTable(data.levels, choose)) : h("p", {}, "No vertebra found."))),
      h("h2", {}, "Slices"), viewer.element,
      h("p", { class: "quiet" }, `Stored: ${voxels.join(" × ")} voxels of ${spacing.join(" × ")} mm${tilt > 0.5 ? `, tilted by ${tilt}°` : ""}. Shown: ${data.volume.spacing.toFixed(1)} mm, 8 bit.`));
    const first = data.levels.find((level) => level.status === "wrong") || [...data.levels].filter((level) => level.found).sort((a, b) => (a.confidence ?? 1) - (b.confidence ?? 1))[0];
    if (first) viewer.ready.then(() => open.viewer === viewer && choose(first.label));
  }

  // Load what comes next while this one is looked at.
  function ahead() {
    const next = step(1), index = next && Number(next.dataset.index);
    if (next && settings.scans[index].file) load(index).catch(() => undefined);
  }

  function mark(index) {
    for (const item of items) {
      const is = Number(item.dataset.index) === index, link = item.querySelector("a");
      if (is) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
      if (is && matchMedia("(min-width: 860px)").matches) item.scrollIntoView({ block: "nearest" });
    }
  }

  function showOverview() {
    open = null;
    $("scan").hidden = true;
    $("scan").replaceChildren();
    $("overview").hidden = false;
    document.title = `${settings.run} – vertloc report`;
    mark(-1);
  }

  function route() {
    const name = location.hash.startsWith("#scan=") ? decodeURIComponent(location.hash.slice(6)) : null;
    if (name !== null && indexOf.has(name)) {
      if (!matchMedia("(min-width: 860px)").matches) $("list-box").open = false;
      showScan(indexOf.get(name));
    } else showOverview();
  }

  // Keys.

  function moveLevel(by) {
    const there = open.data.levels.filter((level) => level.found || level.true);
    const at = there.findIndex((level) => level.label === chosen);
    const next = there[Math.min(there.length - 1, Math.max(0, at + by))];
    if (next) choose(next.label);
  }

  function moveSlice(by) {
    if (open?.viewer.at) open.viewer.moveTo({ z: open.viewer.at.z + by });
  }

  const KEYS = {
    ArrowRight: () => go(1), j: () => go(1), ArrowLeft: () => go(-1), k: () => go(-1),
    ArrowDown: () => open && moveLevel(1), ArrowUp: () => open && moveLevel(-1),
    PageUp: () => moveSlice(1), PageDown: () => moveSlice(-1),
    1: () => rate("right"), 2: () => rate("wrong"), 3: () => rate("unsure"),
    "/": () => { $("list-box").open = true; $("filter").focus(); }, o: () => { location.hash = "#overview"; }, "?": () => $("help").showModal(),
  };
  const NEED_A_SCAN = ["ArrowDown", "ArrowUp", "PageUp", "PageDown"];

  document.addEventListener("keydown", (event) => {
    if (!$("keys").checked || event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
    if (event.target.matches("input:not([type=radio]):not([type=checkbox]), select, textarea")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const isRadio = event.target.matches("input[type=radio]") && event.key.startsWith("Arrow");
    if (isRadio || !KEYS[event.key] || (!open && NEED_A_SCAN.includes(event.key))) return;
    event.preventDefault();
    KEYS[event.key]();
  });

  // Colours, ratings and the rest of the tools.

  const dark = matchMedia("(prefers-color-scheme: dark)");
  function paint(theme) {
    document.documentElement.dataset.theme = theme;
    $("theme").textContent = theme === "dark" ? "Light" : "Dark";
  }
  let theme = null;
  try {
    theme = localStorage.getItem("vertloc-theme");
  } catch (error) {
    console.info(`colours are not kept by this browser: ${error.message}`);
  }
  paint(theme || (dark.matches ? "dark" : "light"));
  $("theme").addEventListener("click", () => {
    paint(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    try {
      localStorage.setItem("vertloc-theme", document.documentElement.dataset.theme);
    } catch (error) {
      console.info(`colours are not kept by this browser: ${error.message}`);
    }
  });
  $("save").addEventListener("click", () => ratings.save());
  $("load").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    if (!file) return;
    try {
      $("announce").textContent = `${await ratings.load(file)} ratings loaded`;
    } catch (error) {
      alert(`${file.name}: ${error.message}`);
    }
    event.target.value = "";
    showRatings();
    arrange();
    if (open) $("rating").replaceWith(ratingBox(open.scan));
  });
  $("help-button").addEventListener("click", () => $("help").showModal());
  $("help-close").addEventListener("click", () => $("help").close());
  for (const id of ["filter", "sort", "show"]) $(id).addEventListener("input", arrange);
  addEventListener("hashchange", route);
  if (!matchMedia("(min-width: 860px)").matches) $("list-box").open = false;
  showRatings();
  arrange();
  route();
})();
