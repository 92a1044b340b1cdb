/** View: everything that the page shows, as one immutable object that is also the fragment of a shared link. */

import { formatSpec, parseSpec, seed } from "./image-spec.js";
import { consecutiveSeeds, formatSeeds, parseSeeds } from "./seeds.js";

/** @typedef {import("./image-spec.js").ImageSpec} ImageSpec */

export const PANELS = ["picture", "nearby", "edit", "plane", "morph"];
const MAX_PICKS = 24;

/**
 * @typedef {object} View
 * @property {string | null} model id of the model; null: the service's default
 * @property {number | null} label class of the sample grid; null: each seed's own class
 * @property {number} truncation
 * @property {number[]} seeds of the sample grid
 * @property {ImageSpec | null} open picture in the inspector
 * @property {string | null} panel one of PANELS, or null while the inspector is closed
 * @property {ImageSpec[]} picks
 * @property {number} step distance of the neighbours, as a fraction of the way to another picture
 * @property {number} round number of the set of neighbours
 * @property {string | null} axis of the active slider: d or p and an index, as in image specs
 * @property {ImageSpec[]} corners of the plane: top left, top right, bottom left, bottom right; or none
 * @property {number} side pictures along a side of the plane
 * @property {"slerp" | "lerp"} path interpolation of the plane and the morph
 * @property {number} steps frames between two picks
 * @property {boolean} loop true if the morph returns to its first pick
 * @property {number} frame of the morph
 */

/** @type {View} */
export const DEFAULT_VIEW = Object.freeze({
  model: null,
  label: null,
  truncation: 1,
  seeds: consecutiveSeeds(0),
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

const integer = (low, high) => (text) => {
  if (!/^\d{1,10}$/.test(text) || text < low || text > high) throw new RangeError(`it must be ${low} to ${high}`);
  return Number(text);
};
const fraction = (text) => {
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
const parseSpecs = (text) => text.split(";").map(parseSpec);
const formatSpecs = (specs) => specs.map(formatSpec).join(";");

/** Parameters of a link, in the order in which they are written. */
const PARAMETERS = {
  model: { parse: matching(/^[\w.-]{1,64}$/) },
  label: { name: "class", parse: integer(0, 99999) },
  truncation: { parse: fraction },
  seeds: { parse: parseSeeds, format: formatSeeds },
  open: { parse: parseSpec, format: formatSpec },
  panel: { parse: oneOf(PANELS) },
  picks: { parse: (text) => parseSpecs(text).slice(0, MAX_PICKS), format: formatSpecs },
  step: { parse: fraction },
  round: { parse: integer(0, 9999) },
  axis: { parse: matching(/^[dp]\d{1,5}$/) },
  corners: { parse: (text) => requireFour(parseSpecs(text)), format: formatSpecs },
  side: { parse: (text) => Number(oneOf(["3", "5", "7"])(text)) },
  path: { parse: oneOf(["slerp", "lerp"]) },
  steps: { parse: integer(1, 64) },
  loop: { parse: (text) => oneOf(["yes", "no"])(text) === "yes", format: (loop) => (loop ? "yes" : "no") },
  frame: { parse: integer(0, 9999) },
};

/** @returns {string} the fragment of a link, without the parameters that have their default */
export function formatView(view) {
  const parameters = [];
  for (const [key, { name = key, format = String }] of Object.entries(PARAMETERS)) {
    const text = view[key] === null ? "" : format(view[key]);
    const defaultText = DEFAULT_VIEW[key] === null ? "" : format(DEFAULT_VIEW[key]);
    if (text !== defaultText) parameters.push(`${name}=${text}`);
  }
  return parameters.join("&");
}

/**
 * Parses the fragment of a link. Invalid parameters keep their default and are reported in `problems`.
 * @param {string} fragment
 * @returns {{view: View, problems: string[]}}
 */
export function parseView(fragment) {
  const view = { ...DEFAULT_VIEW };
  const problems = [];
  const keys = Object.fromEntries(Object.entries(PARAMETERS).map(([key, { name = key }]) => [name, key]));
  for (const parameter of fragment.split("&").filter(Boolean)) {
    const [name, ...rest] = parameter.split("=");
    try {
      if (!Object.hasOwn(keys, name)) throw new RangeError("there is no such parameter");
      view[keys[name]] = PARAMETERS[keys[name]].parse(decodeURIComponent(rest.join("=")));
    } catch (error) {
      problems.push(`${name.slice(0, 20)}: ${error.message}`);
    }
  }
  if (view.panel && !view.open) view.open = seed(view.seeds[0], view.label);
  if (!view.panel && view.open) view.panel = PANELS[0];
  return { view, problems };
}

function requireFour(specs) {
  if (specs.length !== 4) throw new RangeError("a plane has four corners");
  return specs;
}
