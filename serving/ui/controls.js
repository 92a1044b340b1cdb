/** The controls above the sheet and in the header. */

import { byId, fillSelect } from "./dom.js";
import { copyDialog, Exports, pictures } from "./exports.js";
import { seed } from "./recipes.js";
import { readSeeds, seedsFrom, writeSeeds } from "./state.js";

const DRAWN = ""; // in the class picker: the class drawn for each seed

/** Seeds, class, truncation, model; undo, redo, link. */
export class Controls {
  #app;
  #listed = ""; // the classes and models in the pickers

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.#app = app;
    byId("controls").addEventListener("submit", (event) => this.#showSeeds(event));
    byId("random").addEventListener("click", () => app.set({ seeds: seedsFrom() }));
    byId("class").addEventListener("change", ({ target }) => {
      app.setLabel(target.value === DRAWN ? null : Number(target.value));
    });
    const truncate = (how) => app.set({ truncation: Number(byId("truncation").value) }, how);
    byId("truncation").addEventListener("input", () => truncate("preview"));
    byId("truncation").addEventListener("change", () => truncate("push"));
    byId("model").addEventListener("change", ({ target }) => app.setModel(target.value));
    byId("undo").addEventListener("click", () => app.timeline.undo());
    byId("redo").addEventListener("click", () => app.timeline.redo());
    byId("link").addEventListener("click", () => copyDialog("Link to this view", location.href));
    const sheet = () => app.view.seeds.map((number) => seed(number, app.view.label));
    new Exports(app, byId("sheet-export"), pictures(app, sheet, "sheet"));
  }

  render({ seeds, label, truncation, model }) {
    const { card } = this.#app.studio;
    byId("subtitle").textContent = `${card.name}, ${card.resolution} x ${card.resolution}`;
    document.title = `${card.name} - Mint`;
    this.#list(card.classes);
    byId("class").value = label === null ? DRAWN : String(label);
    byId("model").value = model;
    byId("truncation").value = truncation;
    byId("truncation-value").textContent = truncation.toFixed(2);
    if (document.activeElement !== byId("seeds")) byId("seeds").value = writeSeeds(seeds);
    byId("undo").disabled = !this.#app.timeline.canUndo;
    byId("redo").disabled = !this.#app.timeline.canRedo;
  }

  #list(classes) {
    const { models } = this.#app;
    const listed = JSON.stringify([classes, models]);
    if (listed === this.#listed) return;
    this.#listed = listed;
    const names = classes.map((name, index) => [String(index), name]);
    fillSelect(byId("class"), [[DRAWN, "As drawn"], ...names]);
    byId("class-field").hidden = !classes.length;
    fillSelect(byId("model"), models.map(({ name, model_id }) => [model_id ?? name, name, model_id === null]));
    byId("model-field").hidden = models.length < 2;
  }

  #showSeeds(event) {
    event.preventDefault();
    const input = byId("seeds");
    try {
      const seeds = readSeeds(input.value);
      byId("seeds-problem").textContent = "";
      input.removeAttribute("aria-invalid");
      input.value = writeSeeds(seeds);
      this.#app.set({ seeds });
    } catch (error) {
      byId("seeds-problem").textContent = error.message;
      input.setAttribute("aria-invalid", "true");
    }
  }
}
