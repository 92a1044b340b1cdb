/** Preview: the open picture at the top of the inspector, with its seed, class and truncation. */

import { paintImage } from "./canvas.js";
import { busyIndicator, byId } from "./dom.js";
import { DownloadButtons, openImageRequest } from "./downloads.js";
import { formatSpec, seedsOf } from "./image-spec.js";
import { LatestOnly } from "./latest-only.js";

const MAX_LISTED_SEEDS = 6;

/** The upper part of the inspector; the morph panel has an animation in its place. */
export class Preview {
  #app;
  #jobs;

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.#app = app;
    this.#jobs = new LatestOnly(app.handleError, busyIndicator(byId("preview")));
    byId("pick").addEventListener("click", () => app.togglePick(app.view.open));
    new DownloadButtons(app, byId("picture-download"), openImageRequest(app), ["png"]);
  }

  render(view, force) {
    const { model, truncation, open, panel, picks } = view;
    byId("preview-row").hidden = panel === "morph";
    byId("inspector-title").textContent = panel === "morph" ? "Morph" : "";
    if (!panel) {
      this.#jobs.cancel();
      return;
    }
    const picked = picks.some((pick) => formatSpec(pick) === formatSpec(open));
    byId("pick").setAttribute("aria-pressed", String(picked));
    byId("pick").textContent = picked ? "Picked" : "Pick";
    this.#showFacts(view);
    const subject = JSON.stringify([model, open.kind === "edit" ? open.base : open]);
    this.#jobs.run({ key: JSON.stringify([model, open, truncation]), subject, force }, async (signal) => {
      const images = await this.#app.modelClient.imagesOfSpecs([open], truncation, signal);
      paintImage(byId("preview"), images, 0);
      this.#showFacts(this.#app.view);
    });
  }

  #showFacts({ open, truncation, panel }) {
    if (!open || panel === "morph") return;
    byId("inspector-title").textContent = this.#app.name(open);
    const seeds = seedsOf(open);
    const more = seeds.length > MAX_LISTED_SEEDS ? ` and ${seeds.length - MAX_LISTED_SEEDS} more` : "";
    byId("fact-seed").textContent = seeds.slice(0, MAX_LISTED_SEEDS).join(", ") + more;
    byId("fact-class-row").hidden = !this.#app.modelClient.card.classes.length;
    byId("fact-class").textContent = this.#app.className(open);
    byId("fact-truncation").textContent = truncation.toFixed(2);
    byId("preview").setAttribute("aria-label", this.#app.name(open));
  }
}
