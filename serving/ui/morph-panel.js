/** Panel "Morph": an animation from pick to pick. */

import { paintImage } from "./canvas.js";
import { busyIndicator, byId } from "./dom.js";
import { DownloadButtons } from "./downloads.js";
import { blend, describe, formatSpec, randomSpec } from "./image-spec.js";
import { LatestOnly } from "./latest-only.js";
import { readNpy } from "./npy.js";

/** @typedef {import("./image-spec.js").ImageSpec} ImageSpec */
/** @typedef {import("./view.js").View} View */

const FPS = 12; // also of the GIF
const GIF_SIZE = 256; // pixels of the longer side; rounded to a multiple of the model's
const INITIAL_PICKS = 3;

/** Fetches all frames in one response and plays them on a canvas. */
export class MorphPanel {
  #app;
  #jobs;
  #frames = null;
  #timer = 0; // 0 while paused

  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.#app = app;
    this.#jobs = new LatestOnly(app.handleError, busyIndicator(byId("animation")));
    byId("play").addEventListener("click", () => (this.#timer ? this.#pause() : this.#play()));
    byId("frame").addEventListener("input", ({ target }) => this.#seek(Number(target.value)));
    byId("frame").addEventListener("change", () => app.update({}, "replace"));
    byId("steps").addEventListener("change", ({ target }) => app.update({ steps: Number(target.value), frame: 0 }));
    byId("morph-path").addEventListener("change", ({ target }) => app.update({ path: target.value }));
    byId("loop").addEventListener("change", ({ target }) => app.update({ loop: target.checked, frame: 0 }));
    byId("open-frame").addEventListener("click", () => app.open(this.#currentSpec(), { panel: "picture" }));
    byId("random-pick").addEventListener("click", () => app.togglePick(randomSpec(app.view.label)));
    new DownloadButtons(app, byId("morph-download"), (format) => this.#downloadRequest(format), ["gif"]);
  }

  render(view, force) {
    if (view.panel !== "morph") {
      this.#stop();
      this.#jobs.cancel();
      return;
    }
    const { model, truncation, picks, path, loop } = view;
    byId("steps").value = view.steps;
    byId("morph-path").value = path;
    byId("loop").checked = loop;
    for (const id of ["play", "frame", "open-frame"]) byId(id).disabled = picks.length < 2;
    byId("morph-hint").hidden = picks.length >= 2;
    byId("animation").hidden = picks.length < 2;
    if (picks.length < 2) {
      this.#stop();
      return;
    }
    byId("frame").max = frameCount(view, this.#app.modelClient.maxImages) - 1;
    if (!this.#timer) this.#showFrame(Math.min(view.frame, byId("frame").max));
    const subject = JSON.stringify([model, picks, view.steps, path, loop]);
    this.#jobs.run({ key: subject + truncation, subject, force }, async (signal) => {
      const request = await this.#requestBody("npy", signal);
      const { body } = await this.#app.api.post("interpolate", request, signal, (response) => response.arrayBuffer());
      this.#frames = readNpy(body);
      this.#showFrame(Number(byId("frame").value));
    });
  }

  #showFrame(frame) {
    const { view } = this.#app;
    byId("frame").value = frame;
    const text = `${frame + 1} of ${Number(byId("frame").max) + 1}`;
    byId("frame-value").textContent = text;
    byId("frame").setAttribute("aria-valuetext", `Frame ${text}`);
    byId("animation").setAttribute("aria-label", `Morph through ${view.picks.map(describe).join("; ")}. Frame ${text}`);
    if (frame < this.#frames?.shape[0]) paintImage(byId("animation"), this.#frames, frame);
  }

  #seek(frame) {
    this.#stop();
    this.#app.update({ frame }, "preview");
  }

  #play() {
    const last = Number(byId("frame").max);
    const { loop } = this.#app.view;
    if (!loop && Number(byId("frame").value) === last) this.#showFrame(0);
    byId("play").textContent = "Pause";
    this.#timer = setInterval(() => {
      const next = Number(byId("frame").value) + 1;
      if (next <= last) this.#showFrame(next);
      else if (loop) this.#showFrame(0);
      else this.#pause();
    }, 1000 / FPS);
  }

  #pause() {
    this.#stop();
    this.#app.update({ frame: Number(byId("frame").value) }, "replace");
  }

  #stop() {
    clearInterval(this.#timer);
    this.#timer = 0;
    byId("play").textContent = "Play";
  }

  #currentSpec() {
    const { view, modelClient } = this.#app;
    const steps = framesPerSegment(view, modelClient.maxImages);
    return frameSpec({ ...view, steps }, Number(byId("frame").value));
  }

  async #requestBody(format, signal) {
    const { view, modelClient } = this.#app;
    const { truncation, path, loop } = view;
    const keyframes = await modelClient.bodyFields(view.picks, signal);
    const steps = framesPerSegment(view, modelClient.maxImages);
    return { ...keyframes, steps, path, loop, truncation, format, model: modelClient.id };
  }

  async #downloadRequest(format) {
    const { height, width } = this.#app.modelClient;
    const side = Math.max(height, width);
    const size = side * Math.max(1, Math.round(GIF_SIZE / side));
    const body = { ...(await this.#requestBody(format)), size, fps: FPS };
    return { path: "interpolate", body, file: `mint-morph.${format}` };
  }
}

/**
 * Keyframes for a morph: the view's picks; if there are fewer than two, also the open picture and random ones.
 * @param {View} view
 * @returns {ImageSpec[]}
 */
export function picksForMorph(view) {
  if (view.picks.length >= 2) return view.picks;
  const unique = new Map([...view.picks, view.open].map((spec) => [formatSpec(spec), spec]));
  const picks = [...unique.values()];
  while (picks.length < INITIAL_PICKS) picks.push(randomSpec(view.label));
  return picks;
}

/**
 * The picture at a frame.
 * @param {View} view
 * @param {number} frame
 * @returns {ImageSpec}
 */
export function frameSpec({ picks, steps, path }, frame) {
  const segment = Math.floor(frame / steps);
  return blend(picks[segment], picks[(segment + 1) % picks.length], (frame % steps) / steps, path);
}

/** Frames per segment: the view's, or fewer if one response could not hold the whole animation. */
function framesPerSegment({ picks, steps, loop }, maxImages) {
  const most = loop ? Math.floor(maxImages / picks.length) : Math.floor((maxImages - 1) / (picks.length - 1));
  return Math.max(1, Math.min(steps, most));
}

function frameCount(view, maxImages) {
  const steps = framesPerSegment(view, maxImages);
  return view.loop ? steps * view.picks.length : steps * (view.picks.length - 1) + 1;
}
