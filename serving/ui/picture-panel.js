/** Panel "Picture": the latent of the open picture, and the same latent with every class. */

import { paintBars } from "./canvas.js";
import { busyIndicator, byId } from "./dom.js";
import { Gallery } from "./gallery.js";
import { withLabel } from "./image-spec.js";
import { norm } from "./latents.js";
import { LatestOnly } from "./latest-only.js";

/** Shows the latent as bars and as numbers, and a gallery with one picture for each class. */
export class PicturePanel {
  #app;
  #gallery;
  #jobs;

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.#app = app;
    this.#gallery = new Gallery(byId("every-class"), app);
    this.#jobs = new LatestOnly(app.handleError, busyIndicator(byId("every-class")));
  }

  render({ model, truncation, open, panel, picks }, force) {
    if (panel !== "picture") {
      this.#jobs.cancel();
      return;
    }
    const { classes } = this.#app.modelClient.card;
    byId("every-class-block").hidden = !classes.length;
    const specs = classes.map((_, label) => withLabel(open, label));
    this.#gallery.show(specs.map((spec, label) => ({ spec, name: this.#app.name(spec), caption: classes[label] })));
    this.#gallery.mark(withLabel(open, this.#app.modelClient.labelOf(open)), picks);
    const subject = JSON.stringify([model, withLabel(open, null)]);
    this.#jobs.run({ key: subject + truncation, subject, force }, async (signal) => {
      const { latents } = await this.#app.modelClient.inputs([open], signal);
      this.#showLatent(latents[0]);
      if (specs.length) this.#gallery.paint(await this.#app.modelClient.imagesOfSpecs(specs, truncation, signal));
    });
  }

  #showLatent(latent) {
    const [low, high] = [Math.min(...latent), Math.max(...latent)].map((value) => value.toFixed(2));
    const summary = `${latent.length} numbers from ${low} to ${high}, norm ${norm(latent).toFixed(2)}`;
    byId("bars").setAttribute("aria-label", `Latent of the picture: ${summary}`);
    paintBars(byId("bars"), latent);
    byId("latent").textContent = Array.from(latent, (value) => value.toFixed(4)).join("  ");
    byId("latent-summary").textContent = summary;
  }
}
