/** The panel "Plane": four pictures in the corners, their blends between. */

import { busyMark, byId, fillSelect } from "./dom.js";
import { Exports, pictures } from "./exports.js";
import { Gallery } from "./gallery.js";
import { mix, seed, withLabel, writeRecipe } from "./recipes.js";
import { Latest } from "./service.js";
import { seedsFrom } from "./state.js";

/** @typedef {import("./recipes.js").Recipe} Recipe */
/** @typedef {import("./state.js").View} View */

const CORNERS = [0, 1, 2, 3];

/** A square of blends; the corners are picked or drawn. */
export class Plane {
  #app;
  #gallery;
  #latest;

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.#app = app;
    this.#gallery = new Gallery(byId("plane"), app);
    this.#latest = new Latest(app.fail, busyMark(byId("plane")));
    for (const corner of CORNERS) {
      byId(`corner-${corner}`).addEventListener("change", ({ target }) => this.#setCorner(corner, target.value));
    }
    byId("side").addEventListener("change", ({ target }) => app.set({ side: Number(target.value) }));
    byId("plane-path").addEventListener("change", ({ target }) => app.set({ path: target.value }));
    byId("draw-corners").addEventListener("click", () => app.set({ corners: CORNERS.map(() => drawn(app.view)) }));
    byId("pick-corners").addEventListener("click", () => {
      app.set({ corners: fourCorners({ ...app.view, corners: [] }) });
    });
    new Exports(app, byId("plane-export"), pictures(app, () => blends(app.view), "plane"));
  }

  render(view, again) {
    if (view.panel !== "plane") {
      this.#latest.cancel();
      return;
    }
    const { model, truncation, open, corners, side, path, picks } = view;
    byId("side").value = side;
    byId("plane-path").value = path;
    byId("pick-corners").disabled = picks.length === 0;
    byId("plane").style.setProperty("--columns", side);
    this.#listCorners(view);
    const recipes = corners.length ? blends(view) : [];
    const place = (index) => `Row ${Math.floor(index / side) + 1}, column ${(index % side) + 1}`;
    const name = (recipe, index) => `${place(index)}: ${this.#app.name(recipe)}`;
    this.#gallery.show(recipes.map((recipe, index) => ({ recipe, name: name(recipe, index) })));
    this.#gallery.mark(open, picks);
    if (!recipes.length) return;
    const subject = JSON.stringify([model, corners, side, path]);
    this.#latest.run({ key: subject + truncation, subject, again }, async (signal) => {
      this.#gallery.paint(await this.#app.studio.images(recipes, truncation, signal));
    });
  }

  #listCorners({ corners, open, picks }) {
    const others = [
      ["draw", "Draw another"],
      ["open", `The open one: ${this.#app.name(open)}`],
      ...picks.map((pick, index) => [`pick-${index}`, `Pick: ${this.#app.name(pick)}`]),
    ];
    for (const corner of CORNERS) {
      const present = corners[corner] ? this.#app.name(corners[corner]) : "None yet";
      fillSelect(byId(`corner-${corner}`), [["present", present], ...others], "present");
    }
  }

  #setCorner(corner, choice) {
    const { view } = this.#app;
    const chosen = { draw: () => drawn(view), open: () => view.open }[choice] ?? (() => view.picks[choice.slice(5)]);
    this.#app.set({ corners: fourCorners(view).with(corner, chosen()) });
  }
}

/**
 * The corners of the view, or new ones: its picks first, then the open picture, then drawn ones.
 * @param {View} view
 * @returns {Recipe[]}
 */
export function fourCorners(view) {
  if (view.corners.length) return view.corners;
  const found = new Map([...view.picks, view.open].map((recipe) => [writeRecipe(recipe), recipe]));
  const corners = [...found.values()].slice(0, CORNERS.length);
  while (corners.length < CORNERS.length) corners.push(drawn(view));
  return corners;
}

/**
 * The plane row by row, its corners in the corners.
 * @param {View} view
 * @returns {Recipe[]}
 */
export function blends({ corners: [topLeft, topRight, bottomLeft, bottomRight], side, path }) {
  const shares = Array.from({ length: side }, (_, index) => index / (side - 1));
  const top = shares.map((share) => mix(topLeft, topRight, share, path));
  const bottom = shares.map((share) => mix(bottomLeft, bottomRight, share, path));
  return shares.flatMap((down) => shares.map((_, right) => mix(top[right], bottom[right], down, path)));
}

/** @returns {Recipe} the picture of a random seed, with the class of the sheet */
export function drawn({ label }) {
  return withLabel(seed(seedsFrom(null, 1)[0]), label);
}
