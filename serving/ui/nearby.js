/** The panel "Nearby": small steps from the open picture in eight directions. */

import { busyMark, byId } from "./dom.js";
import { Exports, pictures } from "./exports.js";
import { Gallery } from "./gallery.js";
import { mix, seed } from "./recipes.js";
import { Latest } from "./service.js";

const NEIGHBOURS = 8;
const MIDDLE = NEIGHBOURS / 2;
const FIRST_SEED = 4_000_000_000; // the pictures that the steps lead toward; few people ask for them by hand
const ROUNDS = 10_000;

/** A square of nine pictures, the open one in the middle; choosing another one walks there. */
export class Nearby {
  #app;
  #gallery;
  #latest;

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.#app = app;
    this.#gallery = new Gallery(byId("neighbours"), app);
    this.#latest = new Latest(app.fail, busyMark(byId("neighbours")));
    const walk = (how) => app.set({ step: Number(byId("step").value) }, how);
    byId("step").addEventListener("input", () => walk("preview"));
    byId("step").addEventListener("change", () => walk("push"));
    byId("other-neighbours").addEventListener("click", () => app.set({ round: (app.view.round + 1) % ROUNDS }));
    new Exports(app, byId("nearby-export"), pictures(app, () => neighbours(app.view), "nearby"));
  }

  render(view, again) {
    if (view.panel !== "nearby") {
      this.#latest.cancel();
      return;
    }
    const { model, truncation, open, step, round, picks } = view;
    byId("step").value = step;
    byId("step-value").textContent = `${Math.round(100 * step)}%`;
    const recipes = neighbours(view);
    const number = (index) => (index < MIDDLE ? index + 1 : index);
    const name = (index) => (index === MIDDLE ? "The picture itself" : `Neighbour ${number(index)}`);
    this.#gallery.show(recipes.map((recipe, index) => ({ recipe, name: `${name(index)}: ${this.#app.name(recipe)}` })));
    this.#gallery.mark(open, picks);
    const subject = JSON.stringify([model, open, round]);
    this.#latest.run({ key: subject + truncation + step, subject, again }, async (signal) => {
      this.#gallery.paint(await this.#app.studio.images(recipes, truncation, signal));
    });
  }
}

/**
 * The open picture in the middle of its neighbours.
 * @param {import("./state.js").View} view
 * @returns {import("./recipes.js").Recipe[]}
 */
export function neighbours({ open, step, round }) {
  const toward = Array.from({ length: NEIGHBOURS }, (_, index) => seed(FIRST_SEED + round * NEIGHBOURS + index));
  return toward.map((other) => mix(open, other, step)).toSpliced(MIDDLE, 0, open);
}
