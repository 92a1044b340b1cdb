/** Panel "Edit": sliders along principal directions and single dimensions of the latent. */

import { busyIndicator, byId, element, fillSelect } from "./dom.js";
import { Gallery } from "./gallery.js";
import { edit, formatSpec } from "./image-spec.js";
import { LatestOnly } from "./latest-only.js";

const SLIDER_MAX = 4; // in standard deviations of the latent prior
const SLIDER_STEP = 0.1;
const SWEEP = [-3, -2, -1, 0, 1, 2, 3];
const PER_PAGE = 16; // dimensions shown at a time

/** The preview shows the edited picture; the sweep shows the range of the active slider. */
export class EditPanel {
  #app;
  #gallery;
  #jobs;
  #sliders = new Map(); // by axis
  #builtFor = ""; // model and page that the sliders belong to
  #pageStart = 0; // first of the dimensions shown

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.#app = app;
    this.#gallery = new Gallery(byId("sweep"), app);
    this.#jobs = new LatestOnly(app.handleError, busyIndicator(byId("sweep")));
    byId("reset").addEventListener("click", () => app.update({ open: splitEdit(app.view.open).base }));
    byId("dimension-page").addEventListener("change", ({ target }) => this.#activate(`d${target.value}`));
    for (const id of ["directions", "dimensions"]) {
      byId(id).addEventListener("input", ({ target }) => this.#move(target, "preview"));
      byId(id).addEventListener("change", ({ target }) => this.#move(target, "push"));
      byId(id).addEventListener("focusin", ({ target }) => this.#activate(target.dataset.axis));
    }
  }

  render(view, force) {
    if (view.panel !== "edit") {
      this.#jobs.cancel();
      return;
    }
    const axis = this.#activeAxis(view);
    if (axis[0] === "d") this.#pageStart = axis.slice(1) - (axis.slice(1) % PER_PAGE);
    this.#buildSliders();
    const { amounts } = splitEdit(view.open);
    for (const [name, { input, value }] of this.#sliders) {
      input.value = amounts[name] ?? 0;
      value.textContent = signed(amounts[name] ?? 0);
    }
    byId("reset").disabled = view.open.kind !== "edit";
    this.#renderSweep(view, axis, force);
  }

  /** The axis of the slider last used, or the first one. */
  #activeAxis({ axis }) {
    const { latent_dim, directions } = this.#app.modelClient.card;
    const count = { d: latent_dim, p: directions.length };
    if (axis && axis.slice(1) < count[axis[0]]) return axis;
    return directions.length ? "p0" : "d0";
  }

  #renderSweep({ model, truncation, open, picks }, axis, force) {
    const { base, amounts } = splitEdit(open);
    byId("sweep-title").textContent = `Sweep of ${axisName(axis).toLowerCase()}`;
    const specs = SWEEP.map((amount) => edit(base, { ...amounts, [axis]: amount }));
    this.#gallery.show(
      specs.map((spec, index) => ({
        spec,
        name: `${axisName(axis)} at ${signed(SWEEP[index])}`,
        caption: signed(SWEEP[index]),
      })),
    );
    this.#gallery.mark(open, picks);
    const key = JSON.stringify([model, truncation, specs.map(formatSpec)]);
    this.#jobs.run({ key, subject: JSON.stringify([model, base, axis]), force }, async (signal) => {
      this.#gallery.paint(await this.#app.modelClient.imagesOfSpecs(specs, truncation, signal));
    });
  }

  /** Sliders for all directions and for one page of the dimensions. */
  #buildSliders() {
    const { card, id } = this.#app.modelClient;
    const starts = Array.from({ length: Math.ceil(card.latent_dim / PER_PAGE) }, (_, page) => page * PER_PAGE);
    const first = starts.includes(this.#pageStart) ? this.#pageStart : 0;
    const builtFor = JSON.stringify([id, first]);
    if (builtFor === this.#builtFor) return;
    this.#builtFor = builtFor;
    const last = (start) => Math.min(start + PER_PAGE, card.latent_dim) - 1;
    const pages = starts.map((start) => [String(start), `${start} to ${last(start)}`]);
    fillSelect(byId("dimension-page"), pages, String(first));
    byId("directions-block").hidden = !card.directions.length;
    this.#sliders.clear();
    this.#fill(byId("directions"), card.directions.map((_, index) => `p${index}`));
    this.#fill(byId("dimensions"), Array.from({ length: last(first) - first + 1 }, (_, index) => `d${first + index}`));
  }

  #fill(container, axes) {
    container.replaceChildren(
      ...axes.map((axis) => {
        const id = `axis-${axis}`;
        const input = element("input", { type: "range", id, min: -SLIDER_MAX, max: SLIDER_MAX, step: SLIDER_STEP });
        input.dataset.axis = axis;
        const value = element("span", { className: "value", ariaHidden: "true" });
        this.#sliders.set(axis, { input, value });
        const label = element("label", { htmlFor: id }, axisName(axis));
        return element("div", { className: "slider" }, label, input, value);
      }),
    );
  }

  #activate(axis) {
    if (axis && axis !== this.#activeAxis(this.#app.view)) this.#app.update({ axis }, "replace");
  }

  #move(slider, mode) {
    const { axis } = slider.dataset;
    const { base, amounts } = splitEdit(this.#app.view.open);
    this.#app.update({ axis, open: edit(base, { ...amounts, [axis]: Number(slider.value) }) }, mode);
  }
}

/** The picture before editing, and the amounts added to its latent. */
function splitEdit(spec) {
  return spec.kind === "edit" ? spec : { base: spec, amounts: {} };
}

function axisName(axis) {
  return axis[0] === "p" ? `Direction ${Number(axis.slice(1)) + 1}` : `Dimension ${axis.slice(1)}`;
}

function signed(amount) {
  return amount > 0 ? `+${amount}` : String(amount).replace("-", "\u2212");
}
