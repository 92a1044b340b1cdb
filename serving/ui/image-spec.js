/**
 * Image specs: descriptions of pictures by seeds, blends and edits, with a text form short enough for a link.
 *
 *     7                    seed 7, with the seed's own class
 *     7:3                  seed 7 as class 3
 *     m(7,12:3,0.25)       a quarter of the way on the arc from one picture to another; l(...): on the line
 *     e(7,d3:0.4,p0:-1.2)  0.4 added to dimension 3 of the latent, and -1.2 times principal direction 0
 *
 * @typedef {{kind: "seed", seed: number, label: number | null}} Seed label null: the seed's own class
 * @typedef {{kind: "blend", a: ImageSpec, b: ImageSpec, t: number, path: "slerp" | "lerp"}} Blend
 * @typedef {{kind: "edit", base: ImageSpec, amounts: Record<string, number>}} Edit keys are d or p and an index
 * @typedef {Seed | Blend | Edit} ImageSpec
 */

import { consecutiveSeeds, MAX_SEED } from "./seeds.js";

const DIGITS = 4; // decimals kept, so that the text form is exact
const MAX_DEPTH = 64;
const MAX_LENGTH = 4000;

/** @returns {Seed} the picture of a seed; label null: the seed's own class */
export const seed = (number, label = null) => ({ kind: "seed", seed: number, label });

/** @returns {Seed} the picture of a random seed */
export const randomSpec = (label) => seed(consecutiveSeeds(null, 1)[0], label);

/** @returns {ImageSpec} the picture at t between a and b */
export function blend(a, b, t, path = "slerp") {
  const weight = rounded(t);
  if (weight === 0) return a;
  if (weight === 1) return b;
  return { kind: "blend", a, b, t: weight, path };
}

/** @returns {ImageSpec} a picture with amounts added along dimensions and directions; zeros are left out */
export function edit(base, amounts) {
  const nonZero = Object.entries(amounts)
    .map(([axis, amount]) => [axis, rounded(amount)])
    .filter(([, amount]) => amount !== 0)
    .sort(([a], [b]) => a[0].localeCompare(b[0]) || a.slice(1) - b.slice(1));
  return nonZero.length ? { kind: "edit", base, amounts: Object.fromEntries(nonZero) } : base;
}

/** @returns {ImageSpec} the same latent with the class `label`; null: with the seed's own class */
export function withLabel(spec, label) {
  if (spec.kind === "seed") return { ...spec, label };
  if (spec.kind === "edit") return { ...spec, base: withLabel(spec.base, label) };
  return { ...spec, a: withLabel(spec.a, label), b: withLabel(spec.b, label) };
}

/** @returns {number[]} the unique seeds of a spec, in order */
export function seedsOf(spec) {
  if (spec.kind === "seed") return [spec.seed];
  if (spec.kind === "edit") return seedsOf(spec.base);
  return [...new Set([...seedsOf(spec.a), ...seedsOf(spec.b)])];
}

/** @returns {Seed} the seed that determines the class; of a blend, the nearer picture's */
export function classSeed(spec) {
  if (spec.kind === "seed") return spec;
  if (spec.kind === "edit") return classSeed(spec.base);
  return classSeed(spec.t < 0.5 ? spec.a : spec.b);
}

/** @returns {boolean} true if the model has every class, dimension and direction of the spec */
export function isSupported(spec, card) {
  if (spec.kind === "blend") return [spec.a, spec.b].every((end) => isSupported(end, card));
  if (spec.kind === "seed") return spec.label === null || spec.label < card.classes.length;
  const exists = ([axis, index]) => index < (axis === "d" ? card.latent_dim : card.directions.length);
  const axes = Object.keys(spec.amounts).map((key) => [key[0], Number(key.slice(1))]);
  return axes.every(exists) && isSupported(spec.base, card);
}

/** @returns {string} a short readable description */
export function describe(spec) {
  if (spec.kind === "seed") return `Seed ${spec.seed}`;
  if (spec.kind === "edit") return `${describe(spec.base)}, edited`;
  if (spec.a.kind === "seed" && spec.b.kind === "seed") {
    return `${Math.round(100 * spec.t)}% from seed ${spec.a.seed} to ${spec.b.seed}`;
  }
  const seeds = seedsOf(spec);
  const rest = seeds.length - 4;
  return `A blend of seeds ${seeds.slice(0, 4).join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
}

/** @returns {string} the text form of a spec */
export function formatSpec(spec) {
  if (spec.kind === "seed") return spec.label === null ? `${spec.seed}` : `${spec.seed}:${spec.label}`;
  if (spec.kind === "blend") {
    return `${spec.path === "slerp" ? "m" : "l"}(${formatSpec(spec.a)},${formatSpec(spec.b)},${spec.t})`;
  }
  const amounts = Object.entries(spec.amounts).map(([axis, amount]) => `${axis}:${amount}`);
  return `e(${[formatSpec(spec.base), ...amounts].join(",")})`;
}

/**
 * Parses the text form; throws a SyntaxError for anything else.
 * @param {string} text
 * @returns {ImageSpec}
 */
export function parseSpec(text) {
  if (text.length > MAX_LENGTH) throw new SyntaxError("the description of this picture is too long");
  const scanner = { text, position: 0 };
  const spec = parseNested(scanner, 0);
  if (scanner.position !== text.length) throw invalidSpec(text);
  return spec;
}

function parseNested(scanner, depth) {
  if (depth > MAX_DEPTH) throw invalidSpec(scanner.text);
  const kind = accept(scanner, /([mle])\(/y)?.[1];
  if (kind === undefined) return parseSeed(scanner);
  const first = parseNested(scanner, depth + 1);
  if (kind === "e") {
    const amounts = {};
    for (let match; (match = accept(scanner, /,([dp]\d{1,5}):(-?\d{1,4}(?:\.\d+)?)/y)); ) {
      amounts[match[1]] = Number(match[2]);
    }
    expect(scanner, /\)/y);
    return edit(first, amounts);
  }
  expect(scanner, /,/y);
  const second = parseNested(scanner, depth + 1);
  const t = Number(expect(scanner, /,([01](?:\.\d+)?)\)/y)[1]);
  return blend(first, second, Math.min(t, 1), kind === "m" ? "slerp" : "lerp");
}

function parseSeed(scanner) {
  const [, number, label] = expect(scanner, /(\d{1,10})(?::(\d{1,5}))?/y);
  if (number > MAX_SEED) throw new SyntaxError(`seed ${number} is too large; the largest is ${MAX_SEED}`);
  return seed(Number(number), label === undefined ? null : Number(label));
}

function accept(scanner, pattern) {
  pattern.lastIndex = scanner.position;
  const match = pattern.exec(scanner.text);
  if (match) scanner.position = pattern.lastIndex;
  return match;
}

function expect(scanner, pattern) {
  const match = accept(scanner, pattern);
  if (!match) throw invalidSpec(scanner.text);
  return match;
}

function invalidSpec(text) {
  return new SyntaxError(`"${text.slice(0, 40)}" does not describe a picture`);
}

function rounded(number) {
  return Number(number.toFixed(DIGITS));
}
