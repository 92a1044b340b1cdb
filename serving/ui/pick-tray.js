/** Tray of picks at the bottom of the page: keyframes of a morph, and corners for a plane. */

import { busyIndicator, byId } from "./dom.js";
import { Gallery } from "./gallery.js";
import { formatSpec } from "./image-spec.js";
import { LatestOnly } from "./latest-only.js";

/** The tray, hidden while nothing is picked. */
export class PickTray {
  #app;
  #gallery;
  #jobs;

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.#app = app;
    this.#gallery = new Gallery(byId("pick-list"), app, (spec) => {
      const { panel } = app.view;
      app.open(spec, panel === "morph" ? { panel: "picture" } : {});
    });
    this.#jobs = new LatestOnly(app.handleError, busyIndicator(byId("pick-list")));
    byId("clear-picks").addEventListener("click", () => app.update({ picks: [], frame: 0 }));
  }

  render({ model, truncation, open, picks }, force) {
    byId("picks").hidden = !picks.length;
    this.#gallery.show(picks.map((spec) => ({ spec, name: this.#app.name(spec) })));
    this.#gallery.mark(open, []);
    if (!picks.length) {
      this.#jobs.cancel();
      return;
    }
    const key = JSON.stringify([model, truncation, picks.map(formatSpec)]);
    this.#jobs.run({ key, subject: JSON.stringify([model, picks]), force }, async (signal) => {
      this.#gallery.paint(await this.#app.modelClient.imagesOfSpecs(picks, truncation, signal));
    });
  }
}
