/** What the page shows, as one immutable object; its text is the link, and the browser's history is the undo stack. */

import { MAX_SEED, readRecipe, seed, writeRecipe } from "./recipes.js";

/** @typedef {import("./recipes.js").Recipe} Recipe */

export const PANELS = ["picture", "nearby", "edit", "plane", "morph"];
export const SHEET = 48; // pictures of a fresh sheet, and how many "More" adds
export const MAX_SHEET = 480;
const MAX_PICKS = 24;
const BROWSER_KEEPS = 49; // entries that every browser remembers behind the present one

/**
 * @typedef {object} View
 * @property {string | null} model id of the model; null: the service's default
 * @property {number | null} label class of the sheet; null: as drawn for each seed
 * @property {number} truncation
 * @property {number[]} seeds of the sheet
 * @property {Recipe | null} open the picture in the inspector
 * @property {string | null} panel one of PANELS, or null while the inspector is closed
 * @property {Recipe[]} picks
 * @property {number} step how far the neighbours are, as a share of the way to another picture
 * @property {number} round which set of neighbours
 * @property {string | null} axis of the slider in use: d or p and an index, as in recipes
 * @property {Recipe[]} corners of the plane: top left, top right, bottom left, bottom right; or none
 * @property {number} side pictures along a side of the plane
 * @property {"slerp" | "lerp"} path of blends in the plane and the morph
 * @property {number} steps frames from pick to pick
 * @property {boolean} loop whether the morph leads back to its first pick
 * @property {number} frame of the morph
 */

/** @type {View} */
export const START = Object.freeze({
  model: null,
  label: null,
  truncation: 1,
  seeds: Array.from({ length: SHEET }, (_, index) => index),
  open: null,
  panel: null,
  picks: [],
  step: 0.2,
  round: 0,
  axis: null,
  corners: [],
  side: 5,
  path: "slerp",
  steps: 16,
  loop: true,
  frame: 0,
});

const whole = (low, high) => (text) => {
  if (!/^\d{1,10}$/.test(text) || text < low || text > high) throw new RangeError(`it must be ${low} to ${high}`);
  return Number(text);
};
const share = (text) => {
  if (!/^[01](\.\d{1,4})?$/.test(text) || text > 1) throw new RangeError("it must be 0 to 1");
  return Number(text);
};
const oneOf = (values) => (text) => {
  if (!values.includes(text)) throw new RangeError(`it must be one of ${values.join(", ")}`);
  return text;
};
const matching = (pattern) => (text) => {
  if (!pattern.test(text)) throw new RangeError("it cannot be read");
  return text;
};
const recipes = { read: (text) => text.split(";").map(readRecipe), write: (list) => list.map(writeRecipe).join(";") };

/** How each part of a view is read and written; the order is that of the link. */
const PARTS = {
  model: { read: matching(/^[\w.-]{1,64}$/) },
  label: { name: "class", read: whole(0, 99999) },
  truncation: { read: share },
  seeds: { read: readSeeds, write: writeSeeds },
  open: { read: readRecipe, write: writeRecipe },
  panel: { read: oneOf(PANELS) },
  picks: { read: (text) => recipes.read(text).slice(0, MAX_PICKS), write: recipes.write },
  step: { read: share },
  round: { read: whole(0, 9999) },
  axis: { read: matching(/^[dp]\d{1,5}$/) },
  corners: { ...recipes, read: (text) => fourOf(recipes.read(text)) },
  side: { read: (text) => Number(oneOf(["3", "5", "7"])(text)) },
  path: { read: oneOf(["slerp", "lerp"]) },
  steps: { read: whole(1, 64) },
  loop: { read: (text) => oneOf(["yes", "no"])(text) === "yes", write: (loop) => (loop ? "yes" : "no") },
  frame: { read: whole(0, 9999) },
};

/** @returns {string} the part of a link behind the #; what is as at the start is left out */
export function writeView(view) {
  const parts = [];
  for (const [key, { name = key, write = String }] of Object.entries(PARTS)) {
    const text = view[key] === null ? "" : write(view[key]);
    const usual = START[key] === null ? "" : write(START[key]);
    if (text !== usual) parts.push(`${name}=${text}`);
  }
  return parts.join("&");
}

/**
 * Reads what writeView writes. What cannot be read stays as at the start and is named in `problems`.
 * @param {string} text
 * @returns {{view: View, problems: string[]}}
 */
export function readView(text) {
  const view = { ...START };
  const problems = [];
  const keys = Object.fromEntries(Object.entries(PARTS).map(([key, { name = key }]) => [name, key]));
  for (const part of text.split("&").filter(Boolean)) {
    const [name, ...rest] = part.split("=");
    try {
      if (!Object.hasOwn(keys, name)) throw new RangeError("there is no such part");
      view[keys[name]] = PARTS[keys[name]].read(decodeURIComponent(rest.join("=")));
    } catch (error) {
      problems.push(`${name.slice(0, 20)}: ${error.message}`);
    }
  }
  if (view.panel && !view.open) view.open = seed(view.seeds[0], view.label);
  if (!view.panel && view.open) view.panel = PANELS[0];
  return { view, problems };
}

/**
 * Seeds as people write them, such as "3, 7, 12-20"; throws a RangeError that says what is wrong.
 * @param {string} text
 * @returns {number[]}
 */
export function readSeeds(text) {
  const seeds = [];
  for (const part of text.split(/[\s,;]+/).filter(Boolean)) {
    const found = /^(\d{1,10})(?:-(\d{1,10}))?$/.exec(part);
    if (!found) throw new RangeError(`"${part.slice(0, 20)}" is not a seed; write 7, or 0-47, or 3, 7, 12-20`);
    const [first, last] = [Number(found[1]), Number(found[2] ?? found[1])];
    if (last > MAX_SEED) throw new RangeError(`seed ${last} is too large; the largest is ${MAX_SEED}`);
    if (last < first) throw new RangeError(`${part} runs backwards; write ${last}-${first}`);
    if (seeds.length + last - first >= MAX_SHEET) throw new RangeError(`these are more than ${MAX_SHEET} seeds`);
    for (let number = first; number <= last; number++) seeds.push(number);
  }
  if (!seeds.length) throw new RangeError("write one seed or more, such as 0-47");
  return seeds;
}

/** @returns {string} seeds with runs drawn together, such as "3,7,12-20" */
export function writeSeeds(seeds) {
  const runs = [];
  for (const number of seeds) {
    const run = runs.at(-1);
    if (run && run[1] + 1 === number) run[1] = number;
    else runs.push([number, number]);
  }
  return runs.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(",");
}

/** @returns {number[]} as many seeds in a row, from a random one or from `first` */
export function seedsFrom(first = null, count = SHEET) {
  const start = first ?? crypto.getRandomValues(new Uint32Array(1))[0];
  return Array.from({ length: count }, (_, index) => (start + index) % (MAX_SEED + 1));
}

function fourOf(list) {
  if (list.length !== 4) throw new RangeError("a plane has four corners");
  return list;
}

/** Undo and redo on the browser's own history, so that its back button, links and reloads agree with the page. */
export class Timeline {
  /** @param {(text: string) => void} onMove called with the text of the view to show now */
  constructor(onMove) {
    this.index = history.state?.index ?? 0;
    this.last = this.index;
    addEventListener("popstate", (event) => {
      if (event.state) this.index = event.state.index;
      else this.#write("replaceState", ++this.index, this.text); // someone typed another link
      this.last = Math.max(this.last, this.index);
      onMove(this.text);
    });
  }

  /** The text of the view that is shown. */
  get text() {
    return location.hash.slice(1);
  }

  get canUndo() {
    return this.index > Math.max(0, this.last - BROWSER_KEEPS);
  }

  get canRedo() {
    return this.index < this.last;
  }

  /** Adds a step, unless nothing changed. */
  push(text) {
    if (text === this.text) return;
    this.index += 1;
    this.last = this.index;
    this.#write("pushState", this.index, text);
  }

  /** Changes the present step. */
  replace(text) {
    this.#write("replaceState", this.index, text);
  }

  undo() {
    if (this.canUndo) history.back();
  }

  redo() {
    if (this.canRedo) history.forward();
  }

  #write(method, index, text) {
    history[method]({ index }, "", `#${text}`);
  }
}
