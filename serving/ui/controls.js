/** Controls above the sample grid and in the header: seeds, class, truncation, model, undo, redo, link, downloads. */

import { copyDialog } from "./copy-dialog.js";
import { byId, fillSelect } from "./dom.js";
import { DownloadButtons, imagesRequest } from "./downloads.js";
import { seed } from "./image-spec.js";
import { consecutiveSeeds, formatSeeds, parseSeeds } from "./seeds.js";

const OWN_CLASS = ""; // option of the class select: each seed's own class

/** Reads the controls into the view, and shows the view in them. */
export class Controls {
  #app;
  #listedOptions = ""; // classes and models in the selects, as JSON

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.#app = app;
    byId("controls").addEventListener("submit", (event) => this.#submitSeeds(event));
    byId("random").addEventListener("click", () => app.update({ seeds: consecutiveSeeds() }));
    byId("class").addEventListener("change", ({ target }) => {
      app.setLabel(target.value === OWN_CLASS ? null : Number(target.value));
    });
    const setTruncation = (mode) => app.update({ truncation: Number(byId("truncation").value) }, mode);
    byId("truncation").addEventListener("input", () => setTruncation("preview"));
    byId("truncation").addEventListener("change", () => setTruncation("push"));
    byId("model").addEventListener("change", ({ target }) => app.setModel(target.value));
    byId("undo").addEventListener("click", () => app.history.undo());
    byId("redo").addEventListener("click", () => app.history.redo());
    byId("link").addEventListener("click", () => copyDialog("Link to this view", location.href));
    const samples = () => app.view.seeds.map((number) => seed(number, app.view.label));
    new DownloadButtons(app, byId("samples-download"), imagesRequest(app, samples, "sheet"));
  }

  render({ seeds, label, truncation, model }) {
    const { card, height, width } = this.#app.modelClient;
    byId("subtitle").textContent = `${card.name}, ${height} x ${width}`;
    document.title = `${card.name} - Mint`;
    this.#fillSelects(card.classes);
    byId("class").value = label === null ? OWN_CLASS : String(label);
    byId("model").value = model;
    byId("truncation").value = truncation;
    byId("truncation-value").textContent = truncation.toFixed(2);
    if (document.activeElement !== byId("seeds")) byId("seeds").value = formatSeeds(seeds);
    byId("undo").disabled = !this.#app.history.canUndo;
    byId("redo").disabled = !this.#app.history.canRedo;
  }

  #fillSelects(classes) {
    const { models } = this.#app;
    const options = JSON.stringify([classes, models]);
    if (options === this.#listedOptions) return;
    this.#listedOptions = options;
    const names = classes.map((name, index) => [String(index), name]);
    fillSelect(byId("class"), [[OWN_CLASS, "Each seed's own class"], ...names]);
    byId("class-field").hidden = !classes.length;
    fillSelect(byId("model"), models.map(({ name, model_id }) => [model_id ?? name, name, model_id === null]));
    byId("model-field").hidden = models.length < 2;
  }

  #submitSeeds(event) {
    event.preventDefault();
    const input = byId("seeds");
    try {
      const seeds = parseSeeds(input.value);
      byId("seeds-error").textContent = "";
      input.removeAttribute("aria-invalid");
      input.value = formatSeeds(seeds);
      this.#app.update({ seeds });
    } catch (error) {
      byId("seeds-error").textContent = error.message;
      input.setAttribute("aria-invalid", "true");
    }
  }
}
