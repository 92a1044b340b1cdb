/** Application state: the current view, the model that it shows, and the components that render both. */

import { ApiClient } from "./api-client.js";
import { setImageSizes } from "./canvas.js";
import { byId } from "./dom.js";
import { describe, formatSpec, isSupported, seed, withLabel } from "./image-spec.js";
import { Messages } from "./messages.js";
import { ModelClient } from "./model-client.js";
import { UrlHistory } from "./url-history.js";
import { DEFAULT_VIEW, formatView, PANELS, parseView } from "./view.js";

/** @typedef {import("./image-spec.js").ImageSpec} ImageSpec */
/** @typedef {import("./view.js").View} View */
/** @typedef {{render: (view: View, force: boolean) => void}} Component a part of the page that follows the view */

/** The page as a whole. Every change goes through `update`, which renders all components again. */
export class App {
  /** @type {View} */
  view = DEFAULT_VIEW;
  /** @type {ModelClient | null} null until the service has responded */
  modelClient = null;
  /** @type {object[]} the models of the service, as GET /models lists them */
  models = [];
  messages = new Messages();
  api = new ApiClient((status) => this.messages.serviceStatus(status));
  history = new UrlHistory((fragment) => this.#show(fragment));
  #components = [];

  /** @param {...Component} components */
  add(...components) {
    this.#components.push(...components);
  }

  /** Shows the view that the address describes. */
  async start() {
    await this.#show(this.history.fragment);
    this.history.replace(formatView(this.view));
  }

  /**
   * Changes the view.
   * @param {Partial<View>} changes
   * @param {"push" | "replace" | "preview"} mode add an undo step, overwrite the current one, or do neither
   */
  update(changes, mode = "push") {
    this.view = { ...this.view, ...changes };
    if (mode !== "preview") this.history[mode](formatView(this.view));
    if (mode === "push") this.messages.dismiss();
    this.render();
  }

  /** Switches to another model, which is loaded first. */
  async setModel(id) {
    await this.#show(formatView({ ...this.view, model: id }));
    this.history.push(formatView(this.view));
    this.render();
  }

  /**
   * Opens a picture in the inspector.
   * @param {ImageSpec} spec
   * @param {Partial<View>} changes further changes of the view, such as another panel
   */
  open(spec, changes = {}) {
    const wasOpen = this.view.panel !== null;
    this.update({ panel: this.view.panel ?? PANELS[0], ...changes, open: spec });
    if (!wasOpen || !document.activeElement.checkVisibility()) byId("inspector-title").focus();
  }

  /** Picks or unpicks a picture. */
  togglePick(spec) {
    const text = formatSpec(spec);
    const others = this.view.picks.filter((pick) => formatSpec(pick) !== text);
    const picked = others.length === this.view.picks.length;
    this.update({ picks: picked ? [...others, spec] : others, frame: 0 });
    this.messages.announce(`${describe(spec)} ${picked ? "picked" : "unpicked"}.`);
  }

  /** Sets the class of the grid and of the open picture; null: each seed's own class. */
  setLabel(label) {
    this.update({ label, open: this.view.open && withLabel(this.view.open, label) });
  }

  /** @returns {string} the class of a picture; empty for a model without classes, and while it is not known */
  className(spec) {
    return this.modelClient.card.classes[this.modelClient.labelOf(spec)] ?? "";
  }

  /** @returns {string} a readable name of a picture */
  name(spec) {
    return [describe(spec), this.className(spec)].filter(Boolean).join(", ");
  }

  /** Shows an error; when the model is no longer served, switches to the default one instead. */
  handleError = (error) => {
    if (!isModelGone(error)) this.messages.error(error.message, () => this.render(true));
    else this.#show(formatView(this.view), true).then(() => this.history.replace(formatView(this.view)));
  };

  /** Renders every component; force: including those whose input has not changed. */
  render(force = false) {
    if (!this.modelClient) return; // the service has not responded yet
    for (const component of this.#components) component.render(this.view, force);
  }

  async #show(fragment, reload = false) {
    const { view, problems } = parseView(fragment);
    try {
      if (reload || !this.modelClient || view.model !== this.modelClient.id) await this.#load(view.model);
    } catch (error) {
      if (!isModelGone(error)) {
        this.messages.error(error.message, () => this.#show(fragment));
        return;
      }
      problems.push(`model ${view.model} is no longer served; showing pictures of another one`);
      await this.#load(null);
    }
    this.view = this.#restrictToModel(view, problems);
    this.render();
    if (problems.length) this.messages.error(`Not all of this link could be shown (${problems.join("; ")}).`);
  }

  async #load(id) {
    const query = id ? `?model=${encodeURIComponent(id)}` : "";
    const [{ body: list }, { body: model }] = await Promise.all([
      this.api.request("models"),
      this.api.request(`model${query}`),
    ]);
    this.models = list.models;
    this.modelClient = new ModelClient(this.api, model);
    setImageSizes(this.modelClient.height, this.modelClient.width);
  }

  /** The view without classes, dimensions and directions that the model does not have. */
  #restrictToModel(view, problems) {
    const { card, id } = this.modelClient;
    const supported = (spec) => isSupported(spec, card);
    const label = view.label === null || view.label < card.classes.length ? view.label : null;
    const specs = [...view.picks, ...view.corners, ...(view.open ? [view.open] : [])];
    if (label !== view.label || !specs.every(supported)) {
      problems.push("this model has different classes or directions, so some pictures are left out");
    }
    return {
      ...view,
      model: id,
      label,
      open: view.open && !supported(view.open) ? seed(view.seeds[0], label) : view.open,
      picks: view.picks.filter(supported),
      corners: view.corners.every(supported) ? view.corners : [],
    };
  }
}

function isModelGone(error) {
  return error.status === 404 || error.loc?.[0] === "model";
}
