/** Panel "Plane": four pictures in the corners, and their blends in between. */

import { busyIndicator, byId, fillSelect } from "./dom.js";
import { DownloadButtons, imagesRequest } from "./downloads.js";
import { Gallery } from "./gallery.js";
import { blend, formatSpec, randomSpec } from "./image-spec.js";
import { LatestOnly } from "./latest-only.js";

/** @typedef {import("./image-spec.js").ImageSpec} ImageSpec */
/** @typedef {import("./view.js").View} View */

const CORNERS = [0, 1, 2, 3];

/** A square grid of blends; each corner is a pick, the open picture or a random one. */
export class PlanePanel {
  #app;
  #gallery;
  #jobs;

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.#app = app;
    this.#gallery = new Gallery(byId("plane"), app);
    this.#jobs = new LatestOnly(app.handleError, busyIndicator(byId("plane")));
    for (const corner of CORNERS) {
      byId(`corner-${corner}`).addEventListener("change", ({ target }) => this.#setCorner(corner, target.value));
    }
    byId("side").addEventListener("change", ({ target }) => app.update({ side: Number(target.value) }));
    byId("plane-path").addEventListener("change", ({ target }) => app.update({ path: target.value }));
    byId("random-corners").addEventListener("click", () => {
      app.update({ corners: CORNERS.map(() => randomSpec(app.view.label)) });
    });
    byId("corners-from-picks").addEventListener("click", () => {
      app.update({ corners: cornersForPlane({ ...app.view, corners: [] }) });
    });
    new DownloadButtons(app, byId("plane-download"), imagesRequest(app, () => planeSpecs(app.view), "plane"));
  }

  render(view, force) {
    if (view.panel !== "plane") {
      this.#jobs.cancel();
      return;
    }
    const { model, truncation, open, corners, side, path, picks } = view;
    byId("side").value = side;
    byId("plane-path").value = path;
    byId("corners-from-picks").disabled = picks.length === 0;
    byId("plane").style.setProperty("--columns", side);
    this.#fillCornerSelects(view);
    const specs = corners.length ? planeSpecs(view) : [];
    const position = (index) => `Row ${Math.floor(index / side) + 1}, column ${(index % side) + 1}`;
    const name = (spec, index) => `${position(index)}: ${this.#app.name(spec)}`;
    this.#gallery.show(specs.map((spec, index) => ({ spec, name: name(spec, index) })));
    this.#gallery.mark(open, picks);
    if (!specs.length) return;
    const subject = JSON.stringify([model, corners, side, path]);
    this.#jobs.run({ key: subject + truncation, subject, force }, async (signal) => {
      this.#gallery.paint(await this.#app.modelClient.imagesOfSpecs(specs, truncation, signal));
    });
  }

  #fillCornerSelects({ corners, open, picks }) {
    const choices = [
      ["random", "A random picture"],
      ["open", `Open picture: ${this.#app.name(open)}`],
      ...picks.map((pick, index) => [`pick-${index}`, `Pick: ${this.#app.name(pick)}`]),
    ];
    for (const corner of CORNERS) {
      const current = corners[corner] ? this.#app.name(corners[corner]) : "None yet";
      fillSelect(byId(`corner-${corner}`), [["current", current], ...choices], "current");
    }
  }

  #setCorner(corner, choice) {
    const { view } = this.#app;
    const fixed = { random: () => randomSpec(view.label), open: () => view.open };
    const chosen = fixed[choice] ?? (() => view.picks[choice.slice("pick-".length)]);
    this.#app.update({ corners: cornersForPlane(view).with(corner, chosen()) });
  }
}

/**
 * Corners for a plane: the view's; if it has none, first the picks, then the open picture, then random ones.
 * @param {View} view
 * @returns {ImageSpec[]}
 */
export function cornersForPlane(view) {
  if (view.corners.length) return view.corners;
  const unique = new Map([...view.picks, view.open].map((spec) => [formatSpec(spec), spec]));
  const corners = [...unique.values()].slice(0, CORNERS.length);
  while (corners.length < CORNERS.length) corners.push(randomSpec(view.label));
  return corners;
}

/**
 * The pictures of the plane, row by row.
 * @param {View} view
 * @returns {ImageSpec[]}
 */
export function planeSpecs({ corners: [topLeft, topRight, bottomLeft, bottomRight], side, path }) {
  const weights = Array.from({ length: side }, (_, index) => index / (side - 1));
  const top = weights.map((x) => blend(topLeft, topRight, x, path));
  const bottom = weights.map((x) => blend(bottomLeft, bottomRight, x, path));
  return weights.flatMap((y) => weights.map((_, column) => blend(top[column], bottom[column], y, path)));
}
