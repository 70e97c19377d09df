// What a reader thinks of each scan: kept in the browser, saved as a file that `vertloc relabel` reads.
"use strict";

vertloc.Ratings = class {
  static KIND = "vertloc ratings";

  constructor(settings) {
    this.settings = settings;
    this.key = `vertloc-ratings-${settings.id}`;
    this.byScan = new Map();
    try {
      const stored = JSON.parse(localStorage.getItem(this.key) || "[]");
      this.take(stored);
    } catch (error) {
      console.info(`no ratings kept by this browser: ${error.message}`); // storage may be closed for files
    }
  }

  get(scan) {
    return this.byScan.get(scan);
  }

  // rating: "right", "wrong" or "unsure"; shift: levels by which the names are too low (+) or too high (-), 0 if not as a whole.
  set(scan, rating, shift) {
    if (rating === null) this.byScan.delete(scan);
    else this.byScan.set(scan, rating === "wrong" ? { scan, rating, shift } : { scan, rating, shift: 0 });
    try {
      localStorage.setItem(this.key, JSON.stringify(this.list()));
    } catch (error) {
      console.info(`ratings are not kept by this browser, save them as a file: ${error.message}`);
    }
  }

  list() {
    return [...this.byScan.values()].sort((a, b) => (a.scan < b.scan ? -1 : 1));
  }

  words(scan) {
    const entry = this.get(scan);
    if (!entry) return "";
    return entry.rating === "wrong" && entry.shift ? `wrong by ${entry.shift > 0 ? "+" : "−"}${Math.abs(entry.shift)}` : entry.rating;
  }

  // Take over ratings of scans that are in this report; returns how many.
  take(entries) {
    const known = new Set(this.settings.scans.map((scan) => scan.scan));
    let taken = 0;
    for (const entry of entries) {
      if (!known.has(entry.scan) || !["right", "wrong", "unsure"].includes(entry.rating)) continue;
      const shift = Number.isInteger(entry.shift) ? entry.shift : 0;
      this.byScan.set(entry.scan, { scan: entry.scan, rating: entry.rating, shift: entry.rating === "wrong" ? shift : 0 });
      taken += 1;
    }
    return taken;
  }

  document() {
    return { kind: this.constructor.KIND, version: 1, run: this.settings.run, saved: new Date().toISOString(), ratings: this.list() };
  }

  save() {
    const blob = new Blob([JSON.stringify(this.document(), null, 1) + "\n"], { type: "application/json" });
    const link = vertloc.h("a", { href: URL.createObjectURL(blob), download: `${this.settings.run}-ratings.json` });
    link.click();
    URL.revokeObjectURL(link.href);
  }

  async load(file) {
    const document = JSON.parse(await file.text());
    if (document.kind !== this.constructor.KIND || !Array.isArray(document.ratings)) throw new Error("is no file of ratings");
    const taken = this.take(document.ratings);
    for (const entry of this.list()) this.set(entry.scan, entry.rating, entry.shift);
    return taken;
  }
};
