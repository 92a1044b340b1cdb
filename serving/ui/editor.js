/** The panel "Edit": sliders along principal directions and single dimensions of the latent. */

import { busyMark, byId, element, fillSelect } from "./dom.js";
import { Gallery } from "./gallery.js";
import { edit, writeRecipe } from "./recipes.js";
import { Latest } from "./service.js";

const REACH = 4; // in standard deviations of a latent's numbers
const SLIDER_STEP = 0.1;
const SWEEP = [-3, -2, -1, 0, 1, 2, 3];
const PAGE = 16; // dimensions shown at a time

/** The stage shows what the sliders make; the sweep shows where the slider in use leads. */
export class Editor {
  #app;
  #gallery;
  #latest;
  #sliders = new Map(); // by axis
  #built = "";
  #page = 0; // the first of the dimensions that are shown

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.#app = app;
    this.#gallery = new Gallery(byId("sweep"), app);
    this.#latest = new Latest(app.fail, busyMark(byId("sweep")));
    byId("reset").addEventListener("click", () => app.set({ open: parts(app.view.open).base }));
    byId("dimension-page").addEventListener("change", ({ target }) => this.#use(`d${target.value}`));
    for (const id of ["directions", "dimensions"]) {
      byId(id).addEventListener("input", ({ target }) => this.#move(target, "preview"));
      byId(id).addEventListener("change", ({ target }) => this.#move(target, "push"));
      byId(id).addEventListener("focusin", ({ target }) => this.#use(target.dataset.axis));
    }
  }

  render(view, again) {
    if (view.panel !== "edit") {
      this.#latest.cancel();
      return;
    }
    const axis = this.#axis(view);
    if (axis[0] === "d") this.#page = Math.floor(axis.slice(1) / PAGE) * PAGE;
    this.#build();
    const { amounts } = parts(view.open);
    for (const [name, { input, value }] of this.#sliders) {
      input.value = amounts[name] ?? 0;
      value.textContent = signed(amounts[name] ?? 0);
    }
    byId("reset").disabled = view.open.kind !== "edit";
    this.#sweep(view, axis, again);
  }

  /** The slider in use, or the first one. */
  #axis({ axis }) {
    const { latent_dim, directions } = this.#app.studio.card;
    const count = { d: latent_dim, p: directions.length };
    if (axis && axis.slice(1) < count[axis[0]]) return axis;
    return directions.length ? "p0" : "d0";
  }

  #sweep({ model, truncation, open, picks }, axis, again) {
    const { base, amounts } = parts(open);
    byId("sweep-title").textContent = `Sweep of ${nameOf(axis).toLowerCase()}`;
    const recipes = SWEEP.map((amount) => edit(base, { ...amounts, [axis]: amount }));
    this.#gallery.show(
      recipes.map((recipe, index) => ({
        recipe,
        name: `${nameOf(axis)} at ${signed(SWEEP[index])}`,
        caption: signed(SWEEP[index]),
      })),
    );
    this.#gallery.mark(open, picks);
    const key = JSON.stringify([model, truncation, recipes.map(writeRecipe)]);
    this.#latest.run({ key, subject: JSON.stringify([model, base, axis]), again }, async (signal) => {
      this.#gallery.paint(await this.#app.studio.images(recipes, truncation, signal));
    });
  }

  /** Sliders for all directions and for one page of the dimensions. */
  #build() {
    const { card, id } = this.#app.studio;
    const starts = Array.from({ length: Math.ceil(card.latent_dim / PAGE) }, (_, page) => page * PAGE);
    const first = starts.includes(this.#page) ? this.#page : 0;
    const built = JSON.stringify([id, first]);
    if (built === this.#built) return;
    this.#built = built;
    const last = (start) => Math.min(start + PAGE, card.latent_dim) - 1;
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
        const input = element("input", { type: "range", id, min: -REACH, max: REACH, step: SLIDER_STEP });
        input.dataset.axis = axis;
        const value = element("span", { className: "value", ariaHidden: "true" });
        this.#sliders.set(axis, { input, value });
        const label = element("label", { htmlFor: id }, nameOf(axis));
        return element("div", { className: "slider" }, label, input, value);
      }),
    );
  }

  #use(axis) {
    if (axis && axis !== this.#axis(this.#app.view)) this.#app.set({ axis }, "replace");
  }

  #move(slider, how) {
    const { axis } = slider.dataset;
    const { base, amounts } = parts(this.#app.view.open);
    this.#app.set({ axis, open: edit(base, { ...amounts, [axis]: Number(slider.value) }) }, how);
  }
}

/** A picture as what it was before it was edited, and what was added. */
function parts(recipe) {
  return recipe.kind === "edit" ? recipe : { base: recipe, amounts: {} };
}

function nameOf(axis) {
  return axis[0] === "p" ? `Direction ${Number(axis.slice(1)) + 1}` : `Dimension ${axis.slice(1)}`;
}

function signed(amount) {
  return amount > 0 ? `+${amount}` : String(amount).replace("-", "\u2212");
}
