/** The tray of picks: the stops of a morph, and corners for a plane. */

import { busyMark, byId } from "./dom.js";
import { Gallery } from "./gallery.js";
import { writeRecipe } from "./recipes.js";
import { Latest } from "./service.js";

/** The tray below everything, there as long as something is picked. */
export class Picks {
  #app;
  #gallery;
  #latest;

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.#app = app;
    this.#gallery = new Gallery(byId("pick-list"), app, (recipe) => {
      const { panel } = app.view;
      app.open(recipe, panel === "morph" ? { panel: "picture" } : {});
    });
    this.#latest = new Latest(app.fail, busyMark(byId("pick-list")));
    byId("clear-picks").addEventListener("click", () => app.set({ picks: [], frame: 0 }));
  }

  render({ model, truncation, open, picks }, again) {
    byId("picks").hidden = !picks.length;
    this.#gallery.show(picks.map((recipe) => ({ recipe, name: this.#app.name(recipe) })));
    this.#gallery.mark(open, []);
    if (!picks.length) {
      this.#latest.cancel();
      return;
    }
    const key = JSON.stringify([model, truncation, picks.map(writeRecipe)]);
    this.#latest.run({ key, subject: JSON.stringify([model, picks]), again }, async (signal) => {
      this.#gallery.paint(await this.#app.studio.images(picks, truncation, signal));
    });
  }
}
