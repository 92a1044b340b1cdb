/** The sheet: a grid of seeds. */

import { busyMark, byId } from "./dom.js";
import { Gallery } from "./gallery.js";
import { MAX_SEED, seed } from "./recipes.js";
import { Latest } from "./service.js";
import { MAX_SHEET, seedsFrom, SHEET } from "./state.js";

/** Pictures of the view's seeds; only those that are not there yet are asked for. */
export class Sheet {
  #app;
  #gallery;
  #latest;
  #shown = { seeds: [] };

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.#app = app;
    this.#gallery = new Gallery(byId("sheet"), app);
    this.#latest = new Latest(app.fail, busyMark(byId("sheet")));
    byId("more").addEventListener("click", () => this.#more());
  }

  /** Puts the focus on a picture, or on the first where the sheet does not have it. */
  focus(recipe) {
    this.#gallery.focus(recipe);
  }

  render(view, again) {
    const { model, label, truncation, seeds } = view;
    this.#name(view);
    byId("more").hidden = seeds.length >= MAX_SHEET;
    const subject = JSON.stringify([model, label, seeds]);
    this.#latest.run({ key: subject + truncation, subject, again }, async (signal) => {
      const kept = again ? 0 : this.#kept(view);
      if (kept < seeds.length) {
        if (label !== this.#shown.label || model !== this.#shown.model) this.#gallery.blank(0);
        else this.#gallery.blank(commonStart(seeds, this.#shown.seeds));
        const images = await this.#app.studio.sheet(seeds.slice(kept), label, truncation, signal);
        this.#gallery.paint(images, kept);
      }
      this.#shown = view;
      this.#name(this.#app.view);
    });
  }

  /** How many of the first pictures stay as they are. */
  #kept({ model, label, truncation, seeds }) {
    const same = this.#shown.model === model && this.#shown.label === label && this.#shown.truncation === truncation;
    return same ? commonStart(seeds, this.#shown.seeds) : 0;
  }

  #name({ seeds, label, open, picks }) {
    this.#gallery.show(
      seeds.map((number) => {
        const recipe = seed(number, label);
        const drawn = label === null ? this.#app.className(recipe) : "";
        return { recipe, name: this.#app.name(recipe), caption: `${number} ${drawn}`.trim() };
      }),
    );
    this.#gallery.mark(open, picks);
  }

  #more() {
    const { seeds } = this.#app.view;
    const count = Math.min(SHEET, MAX_SHEET - seeds.length);
    this.#app.set({ seeds: [...seeds, ...seedsFrom((seeds.at(-1) + 1) % (MAX_SEED + 1), count)] });
  }
}

function commonStart(a, b) {
  const end = a.findIndex((value, index) => value !== b[index]);
  return end < 0 ? a.length : end;
}
