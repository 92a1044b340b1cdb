/** Panel "Nearby": small steps from the open picture toward eight random ones. */

import { busyIndicator, byId } from "./dom.js";
import { DownloadButtons, imagesRequest } from "./downloads.js";
import { Gallery } from "./gallery.js";
import { blend, seed } from "./image-spec.js";
import { LatestOnly } from "./latest-only.js";

const NEIGHBOURS = 8;
const MIDDLE = NEIGHBOURS / 2;
const FIRST_TARGET_SEED = 4_000_000_000; // far from the seeds that people type
const ROUNDS = 10_000;

/** A 3 x 3 grid with the open picture in the middle; choosing a neighbour opens it. */
export class NearbyPanel {
  #app;
  #gallery;
  #jobs;

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.#app = app;
    this.#gallery = new Gallery(byId("neighbours"), app);
    this.#jobs = new LatestOnly(app.handleError, busyIndicator(byId("neighbours")));
    const setStep = (mode) => app.update({ step: Number(byId("step").value) }, mode);
    byId("step").addEventListener("input", () => setStep("preview"));
    byId("step").addEventListener("change", () => setStep("push"));
    byId("other-neighbours").addEventListener("click", () => app.update({ round: (app.view.round + 1) % ROUNDS }));
    new DownloadButtons(app, byId("nearby-download"), imagesRequest(app, () => neighbours(app.view), "nearby"));
  }

  render(view, force) {
    if (view.panel !== "nearby") {
      this.#jobs.cancel();
      return;
    }
    const { model, truncation, open, step, round, picks } = view;
    byId("step").value = step;
    byId("step-value").textContent = `${Math.round(100 * step)}%`;
    const specs = neighbours(view);
    const number = (index) => (index < MIDDLE ? index + 1 : index);
    const role = (index) => (index === MIDDLE ? "Open picture" : `Neighbour ${number(index)}`);
    this.#gallery.show(specs.map((spec, index) => ({ spec, name: `${role(index)}: ${this.#app.name(spec)}` })));
    this.#gallery.mark(open, picks);
    const subject = JSON.stringify([model, open, round]);
    this.#jobs.run({ key: subject + truncation + step, subject, force }, async (signal) => {
      this.#gallery.paint(await this.#app.modelClient.imagesOfSpecs(specs, truncation, signal));
    });
  }
}

/**
 * The open picture in the middle of its neighbours.
 * @param {import("./view.js").View} view
 * @returns {import("./image-spec.js").ImageSpec[]}
 */
export function neighbours({ open, step, round }) {
  const first = FIRST_TARGET_SEED + round * NEIGHBOURS;
  const targets = Array.from({ length: NEIGHBOURS }, (_, index) => seed(first + index));
  return targets.map((target) => blend(open, target, step)).toSpliced(MIDDLE, 0, open);
}
