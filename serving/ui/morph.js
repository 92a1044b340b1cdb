/** The panel "Morph": a film from pick to pick. */

import { busyMark, byId } from "./dom.js";
import { Exports } from "./exports.js";
import { readNpy } from "./npy.js";
import { paintImage } from "./paint.js";
import { drawn } from "./plane.js";
import { describe, mix, writeRecipe } from "./recipes.js";
import { Latest } from "./service.js";

/** @typedef {import("./recipes.js").Recipe} Recipe */
/** @typedef {import("./state.js").View} View */

const FRAMES_PER_S = 12; // as the GIF
const GIF_SIDE = 256; // pixels, or the nearest multiple of the model's resolution
const ENOUGH = 3;

/** Frames come from the service in one answer, and are played here. */
export class Morph {
  #app;
  #latest;
  #frames = null;
  #playing = 0; // the timer's id

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.#app = app;
    this.#latest = new Latest(app.fail, busyMark(byId("film")));
    byId("play").addEventListener("click", () => (this.#playing ? this.#pause() : this.#play()));
    byId("scrubber").addEventListener("input", ({ target }) => this.#scrub(Number(target.value)));
    byId("scrubber").addEventListener("change", () => app.set({}, "replace"));
    byId("steps").addEventListener("change", ({ target }) => app.set({ steps: Number(target.value), frame: 0 }));
    byId("morph-path").addEventListener("change", ({ target }) => app.set({ path: target.value }));
    byId("loop").addEventListener("change", ({ target }) => app.set({ loop: target.checked, frame: 0 }));
    byId("open-frame").addEventListener("click", () => app.open(this.#recipe(), { panel: "picture" }));
    byId("draw-pick").addEventListener("click", () => app.togglePick(drawn(app.view)));
    new Exports(app, byId("morph-export"), (format) => this.#asked(format), ["gif"]);
  }

  render(view, again) {
    if (view.panel !== "morph") {
      this.#stop();
      this.#latest.cancel();
      return;
    }
    const { model, truncation, picks, path, loop } = view;
    byId("steps").value = view.steps;
    byId("morph-path").value = path;
    byId("loop").checked = loop;
    for (const id of ["play", "scrubber", "open-frame"]) byId(id).disabled = picks.length < 2;
    byId("too-few").hidden = picks.length >= 2;
    byId("film").hidden = picks.length < 2;
    if (picks.length < 2) {
      this.#stop();
      return;
    }
    byId("scrubber").max = frameCount(view, this.#app.studio.maxImages) - 1;
    if (!this.#playing) this.#show(Math.min(view.frame, byId("scrubber").max));
    const subject = JSON.stringify([model, picks, view.steps, path, loop]);
    this.#latest.run({ key: subject + truncation, subject, again }, async (signal) => {
      const body = await this.#body("npy", signal);
      const answer = await this.#app.service.post("interpolate", body, signal, (response) => response.arrayBuffer());
      this.#frames = readNpy(answer.body);
      this.#show(Number(byId("scrubber").value));
    });
  }

  #show(frame) {
    const { view } = this.#app;
    byId("scrubber").value = frame;
    const text = `${frame + 1} of ${Number(byId("scrubber").max) + 1}`;
    byId("scrubber-value").textContent = text;
    byId("scrubber").setAttribute("aria-valuetext", `Frame ${text}`);
    byId("film").setAttribute("aria-label", `Morph through ${view.picks.map(describe).join("; ")}. Frame ${text}`);
    if (frame < this.#frames?.shape[0]) paintImage(byId("film"), this.#frames, frame);
  }

  #scrub(frame) {
    this.#stop();
    this.#app.set({ frame }, "preview");
  }

  #play() {
    const last = Number(byId("scrubber").max);
    const { loop } = this.#app.view;
    if (!loop && Number(byId("scrubber").value) === last) this.#show(0);
    byId("play").textContent = "Pause";
    this.#playing = setInterval(() => {
      const next = Number(byId("scrubber").value) + 1;
      if (next <= last) this.#show(next);
      else if (loop) this.#show(0);
      else this.#pause();
    }, 1000 / FRAMES_PER_S);
  }

  #pause() {
    this.#stop();
    this.#app.set({ frame: Number(byId("scrubber").value) }, "replace");
  }

  #stop() {
    clearInterval(this.#playing);
    this.#playing = 0;
    byId("play").textContent = "Play";
  }

  #recipe() {
    const { view, studio } = this.#app;
    return frameRecipe({ ...view, steps: stepsOf(view, studio.maxImages) }, Number(byId("scrubber").value));
  }

  async #body(format, signal) {
    const { view, studio } = this.#app;
    const { truncation, path, loop } = view;
    const stops = await studio.fields(view.picks, signal);
    return { ...stops, steps: stepsOf(view, studio.maxImages), path, loop, truncation, format, model: studio.id };
  }

  async #asked(format) {
    const { resolution } = this.#app.studio.card;
    const size = resolution * Math.max(1, Math.round(GIF_SIDE / resolution));
    const body = { ...(await this.#body(format)), size, fps: FRAMES_PER_S };
    return { path: "interpolate", body, file: `mint-morph.${format}` };
  }
}

/**
 * Picks for a morph: those of the view, or where they are too few the open picture and drawn ones beside them.
 * @param {View} view
 * @returns {Recipe[]}
 */
export function enoughPicks(view) {
  if (view.picks.length >= 2) return view.picks;
  const found = new Map([...view.picks, view.open].map((recipe) => [writeRecipe(recipe), recipe]));
  const picks = [...found.values()];
  while (picks.length < ENOUGH) picks.push(drawn(view));
  return picks;
}

/**
 * The picture of a frame.
 * @param {View} view
 * @param {number} frame
 * @returns {Recipe}
 */
export function frameRecipe({ picks, steps, path }, frame) {
  const leg = Math.floor(frame / steps);
  return mix(picks[leg], picks[(leg + 1) % picks.length], (frame % steps) / steps, path);
}

/** Frames from pick to pick: as asked for, or fewer where one answer could not hold the film. */
function stepsOf({ picks, steps, loop }, maxImages) {
  const most = loop ? Math.floor(maxImages / picks.length) : Math.floor((maxImages - 1) / (picks.length - 1));
  return Math.max(1, Math.min(steps, most));
}

function frameCount(view, maxImages) {
  const steps = stepsOf(view, maxImages);
  return view.loop ? steps * view.picks.length : steps * (view.picks.length - 1) + 1;
}
