/** Sample grid: one picture for each seed of the view. */

import { busyIndicator, byId } from "./dom.js";
import { Gallery } from "./gallery.js";
import { seed } from "./image-spec.js";
import { LatestOnly } from "./latest-only.js";
import { consecutiveSeeds, MAX_SEED, MAX_SEEDS, PAGE_SIZE } from "./seeds.js";

/** Requests only the pictures that the grid does not show yet. */
export class SampleGrid {
  #app;
  #gallery;
  #jobs;
  #shown = { seeds: [] }; // the view whose pictures are painted

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.#app = app;
    this.#gallery = new Gallery(byId("samples"), app);
    this.#jobs = new LatestOnly(app.handleError, busyIndicator(byId("samples")));
    byId("more").addEventListener("click", () => this.#showMore());
  }

  /** Focuses a picture, or the first one if it is not in the grid. */
  focus(spec) {
    this.#gallery.focus(spec);
  }

  render(view, force) {
    const { model, label, truncation, seeds } = view;
    this.#updateItems(view);
    byId("more").hidden = seeds.length >= MAX_SEEDS;
    const subject = JSON.stringify([model, label, seeds]);
    this.#jobs.run({ key: subject + truncation, subject, force }, async (signal) => {
      const reusable = force ? 0 : this.#reusableCount(view);
      if (reusable < seeds.length) {
        if (label !== this.#shown.label || model !== this.#shown.model) this.#gallery.fade(0);
        else this.#gallery.fade(commonPrefix(seeds, this.#shown.seeds));
        const images = await this.#app.modelClient.imagesOfSeeds(seeds.slice(reusable), label, truncation, signal);
        this.#gallery.paint(images, reusable);
      }
      this.#shown = view;
      this.#updateItems(this.#app.view);
    });
  }

  /** Number of pictures at the start that stay the same. */
  #reusableCount({ model, label, truncation, seeds }) {
    const same = this.#shown.model === model && this.#shown.label === label && this.#shown.truncation === truncation;
    return same ? commonPrefix(seeds, this.#shown.seeds) : 0;
  }

  #updateItems({ seeds, label, open, picks }) {
    this.#gallery.show(
      seeds.map((number) => {
        const spec = seed(number, label);
        const ownClass = label === null ? this.#app.className(spec) : "";
        return { spec, name: this.#app.name(spec), caption: `${number} ${ownClass}`.trim() };
      }),
    );
    this.#gallery.mark(open, picks);
  }

  #showMore() {
    const { seeds } = this.#app.view;
    const count = Math.min(PAGE_SIZE, MAX_SEEDS - seeds.length);
    this.#app.update({ seeds: [...seeds, ...consecutiveSeeds((seeds.at(-1) + 1) % (MAX_SEED + 1), count)] });
  }
}

function commonPrefix(a, b) {
  const end = a.findIndex((value, index) => value !== b[index]);
  return end < 0 ? a.length : end;
}
