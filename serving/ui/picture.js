/** The picture that is open: large, with its seed, class and latent. */

import { busyMark, byId } from "./dom.js";
import { Exports, openPicture } from "./exports.js";
import { Gallery } from "./gallery.js";
import { norm } from "./latents.js";
import { paintBars, paintImage } from "./paint.js";
import { seedsOf, withLabel, writeRecipe } from "./recipes.js";
import { Latest } from "./service.js";

const LISTED_SEEDS = 6;

/** The upper part of the inspector. */
export class Stage {
  #app;
  #latest;

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.#app = app;
    this.#latest = new Latest(app.fail, busyMark(byId("stage")));
    byId("pick").addEventListener("click", () => app.togglePick(app.view.open));
    new Exports(app, byId("picture-export"), openPicture(app), ["png"]);
  }

  render(view, again) {
    const { model, truncation, open, panel, picks } = view;
    byId("stage-row").hidden = panel === "morph";
    byId("inspector-title").textContent = panel === "morph" ? "Morph" : "";
    if (!panel) {
      this.#latest.cancel();
      return;
    }
    const picked = picks.some((pick) => writeRecipe(pick) === writeRecipe(open));
    byId("pick").setAttribute("aria-pressed", String(picked));
    byId("pick").textContent = picked ? "Picked" : "Pick";
    this.#facts(view);
    const subject = JSON.stringify([model, open.kind === "edit" ? open.base : open]);
    this.#latest.run({ key: JSON.stringify([model, open, truncation]), subject, again }, async (signal) => {
      const images = await this.#app.studio.images([open], truncation, signal);
      paintImage(byId("stage"), images, 0);
      this.#facts(this.#app.view);
    });
  }

  #facts({ open, truncation, panel }) {
    if (!open || panel === "morph") return;
    byId("inspector-title").textContent = this.#app.name(open);
    const seeds = seedsOf(open);
    const more = seeds.length > LISTED_SEEDS ? ` and ${seeds.length - LISTED_SEEDS} more` : "";
    byId("fact-seed").textContent = seeds.slice(0, LISTED_SEEDS).join(", ") + more;
    byId("fact-class-row").hidden = !this.#app.studio.card.classes.length;
    byId("fact-class").textContent = this.#app.className(open);
    byId("fact-truncation").textContent = truncation.toFixed(2);
    byId("stage").setAttribute("aria-label", this.#app.name(open));
  }
}

/** The panel "Picture": the latent, and the same latent as every class. */
export class PicturePanel {
  #app;
  #gallery;
  #latest;

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.#app = app;
    this.#gallery = new Gallery(byId("every-class"), app);
    this.#latest = new Latest(app.fail, busyMark(byId("every-class")));
  }

  render({ model, truncation, open, panel, picks }, again) {
    if (panel !== "picture") {
      this.#latest.cancel();
      return;
    }
    const { classes } = this.#app.studio.card;
    byId("every-class-block").hidden = !classes.length;
    const recipes = classes.map((_, label) => withLabel(open, label));
    this.#gallery.show(
      recipes.map((recipe, label) => ({ recipe, name: this.#app.name(recipe), caption: classes[label] })),
    );
    this.#gallery.mark(withLabel(open, this.#app.studio.labelOf(open)), picks);
    const subject = JSON.stringify([model, withLabel(open, null)]);
    this.#latest.run({ key: subject + truncation, subject, again }, async (signal) => {
      const { latents } = await this.#app.studio.inputs([open], signal);
      this.#showLatent(latents[0]);
      if (recipes.length) this.#gallery.paint(await this.#app.studio.images(recipes, truncation, signal));
    });
  }

  #showLatent(latent) {
    const [low, high] = [Math.min(...latent), Math.max(...latent)].map((value) => value.toFixed(2));
    const said = `${latent.length} numbers from ${low} to ${high}, length ${norm(latent).toFixed(2)}`;
    byId("bars").setAttribute("aria-label", `The picture's latent: ${said}`);
    paintBars(byId("bars"), latent);
    byId("latent").textContent = Array.from(latent, (value) => value.toFixed(4)).join("  ");
    byId("latent-facts").textContent = said;
  }
}
