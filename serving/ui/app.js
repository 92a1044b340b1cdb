/** What all parts of the page share: the view, the model, and what can be done with both. */

import { byId } from "./dom.js";
import { Messages } from "./messages.js";
import { setSizes } from "./paint.js";
import { describe, fits, seed, withLabel, writeRecipe } from "./recipes.js";
import { Service } from "./service.js";
import { PANELS, readView, START, Timeline, writeView } from "./state.js";
import { Studio } from "./studio.js";

/** @typedef {import("./recipes.js").Recipe} Recipe */
/** @typedef {import("./state.js").View} View */
/** @typedef {{render: (view: View) => void}} Part something of the page that follows the view */

/** The page as a whole. Every change goes through `set`, which renders all parts again. */
export class App {
  /** @type {View} */
  view = START;
  /** @type {Studio} */
  studio = null;
  /** @type {object[]} the models of the service, as GET /models lists them */
  models = [];
  messages = new Messages();
  service = new Service((condition) => this.messages.service(condition));
  timeline = new Timeline((text) => this.#show(text));
  #parts = [];

  /** @param {...Part} parts */
  add(...parts) {
    this.#parts.push(...parts);
  }

  /** Shows what the address says. */
  async start() {
    await this.#show(this.timeline.text);
    this.timeline.replace(writeView(this.view));
  }

  /**
   * Changes the view.
   * @param {Partial<View>} changes
   * @param {"push" | "replace" | "preview"} how a step to undo, a change of the present one, or one not to keep
   */
  set(changes, how = "push") {
    this.view = { ...this.view, ...changes };
    if (how !== "preview") this.timeline[how](writeView(this.view));
    if (how === "push") this.messages.moveOn();
    this.render();
  }

  /** Changes the model, which must be loaded first. */
  async setModel(id) {
    await this.#show(writeView({ ...this.view, model: id }));
    this.timeline.push(writeView(this.view));
    this.render();
  }

  /**
   * Opens a picture in the inspector.
   * @param {Recipe} recipe
   * @param {Partial<View>} changes of the view beside it, such as another panel
   */
  open(recipe, changes = {}) {
    const wasOpen = this.view.panel !== null;
    this.set({ panel: this.view.panel ?? PANELS[0], ...changes, open: recipe });
    if (!wasOpen || !document.activeElement.checkVisibility()) byId("inspector-title").focus();
  }

  /** Picks a picture, or lays it back. */
  togglePick(recipe) {
    const text = writeRecipe(recipe);
    const others = this.view.picks.filter((pick) => writeRecipe(pick) !== text);
    const picked = others.length === this.view.picks.length;
    this.set({ picks: picked ? [...others, recipe] : others, frame: 0 });
    this.messages.say(`${describe(recipe)} ${picked ? "picked" : "is no longer picked"}.`);
  }

  /** Gives the sheet and the open picture another class; null: the class drawn for each seed. */
  setLabel(label) {
    this.set({ label, open: this.view.open && withLabel(this.view.open, label) });
  }

  /** @returns {string} the class of a picture; empty without classes, and while it is not known */
  className(recipe) {
    return this.studio.card.classes[this.studio.labelOf(recipe)] ?? "";
  }

  /** @returns {string} what a picture is, for people */
  name(recipe) {
    return [describe(recipe), this.className(recipe)].filter(Boolean).join(", ");
  }

  /** Says what went wrong; a model that is gone is left for the one that is served now. */
  fail = (error) => {
    if (!isModelGone(error)) this.messages.problem(error.message, () => this.render(true));
    else this.#show(writeView(this.view), true).then(() => this.timeline.replace(writeView(this.view)));
  };

  /** Lets every part follow the view; `again`: also those for which nothing changed. */
  render(again = false) {
    if (!this.studio) return; // the service has not answered yet
    for (const part of this.#parts) part.render(this.view, again);
  }

  async #show(text, reload = false) {
    const { view, problems } = readView(text);
    try {
      if (reload || !this.studio || view.model !== this.studio.id) await this.#load(view.model);
    } catch (error) {
      if (!isModelGone(error)) {
        this.messages.problem(error.message, () => this.#show(text));
        return;
      }
      problems.push(`model ${view.model} is no longer served; these are pictures of another one`);
      await this.#load(null);
    }
    this.view = this.#fitting(view, problems);
    this.render();
    if (problems.length) this.messages.problem(`Not all of this link could be shown (${problems.join("; ")}).`);
  }

  async #load(id) {
    const query = id ? `?model=${encodeURIComponent(id)}` : "";
    const [{ body: list }, { body: model }] = await Promise.all([
      this.service.ask("models"),
      this.service.ask(`model${query}`),
    ]);
    this.models = list.models;
    this.studio = new Studio(this.service, model);
    setSizes(this.studio.card.resolution);
  }

  /** The view without what the model does not have. */
  #fitting(view, problems) {
    const { card, id } = this.studio;
    const has = (recipe) => fits(recipe, card);
    const label = view.label === null || view.label < card.classes.length ? view.label : null;
    const pictures = [...view.picks, ...view.corners, ...(view.open ? [view.open] : [])];
    if (label !== view.label || !pictures.every(has)) {
      problems.push("this model has other classes or directions, so that some pictures are left out");
    }
    return {
      ...view,
      model: id,
      label,
      open: view.open && !has(view.open) ? seed(view.seeds[0], label) : view.open,
      picks: view.picks.filter(has),
      corners: view.corners.every(has) ? view.corners : [],
    };
  }
}

function isModelGone(error) {
  return error.status === 404 || error.loc?.[0] === "model";
}
