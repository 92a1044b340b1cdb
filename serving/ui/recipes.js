/**
 * Recipes: how a picture is made, short enough for a link.
 *
 *     7                    seed 7, with the class that is drawn for it
 *     7:3                  seed 7 as class 3
 *     m(7,12:3,0.25)       a quarter of the way on the arc from one picture to another; l(...): on the straight line
 *     e(7,d3:0.4,p0:-1.2)  0.4 added to number 3 of the latent, and principal direction 0 taken off 1.2 times
 *
 * @typedef {{kind: "seed", seed: number, label: number | null}} Seed
 * @typedef {{kind: "mix", a: Recipe, b: Recipe, t: number, path: "slerp" | "lerp"}} Mix
 * @typedef {{kind: "edit", base: Recipe, amounts: Record<string, number>}} Edit keys are d or p and an index
 * @typedef {Seed | Mix | Edit} Recipe
 */

export const MAX_SEED = 2 ** 32 - 1;
const DIGITS = 4; // a link holds no more of a number, so a recipe does not either
const MAX_DEPTH = 64;
const MAX_LENGTH = 4000;

/** @returns {Seed} the picture of a seed; label null: the class drawn for it */
export const seed = (number, label = null) => ({ kind: "seed", seed: number, label });

/** @returns {Recipe} the picture at t between a and b */
export function mix(a, b, t, path = "slerp") {
  const share = rounded(t);
  if (share === 0) return a;
  if (share === 1) return b;
  return { kind: "mix", a, b, t: share, path };
}

/** @returns {Recipe} a picture with amounts added along dimensions and directions; zeros are left out */
export function edit(base, amounts) {
  const kept = Object.entries(amounts)
    .map(([axis, amount]) => [axis, rounded(amount)])
    .filter(([, amount]) => amount !== 0)
    .sort(([a], [b]) => a[0].localeCompare(b[0]) || a.slice(1) - b.slice(1));
  return kept.length ? { kind: "edit", base, amounts: Object.fromEntries(kept) } : base;
}

/** @returns {Recipe} the same latent with the class `label`, or with null as it was drawn */
export function withLabel(recipe, label) {
  if (recipe.kind === "seed") return { ...recipe, label };
  if (recipe.kind === "edit") return { ...recipe, base: withLabel(recipe.base, label) };
  return { ...recipe, a: withLabel(recipe.a, label), b: withLabel(recipe.b, label) };
}

/** @returns {number[]} the seeds in a recipe, in order, each once */
export function seedsOf(recipe) {
  if (recipe.kind === "seed") return [recipe.seed];
  if (recipe.kind === "edit") return seedsOf(recipe.base);
  return [...new Set([...seedsOf(recipe.a), ...seedsOf(recipe.b)])];
}

/** @returns {Seed} the seed that gives a recipe its class: of two pictures the nearer one's */
export function leafOf(recipe) {
  if (recipe.kind === "seed") return recipe;
  if (recipe.kind === "edit") return leafOf(recipe.base);
  return leafOf(recipe.t < 0.5 ? recipe.a : recipe.b);
}

/** @returns {boolean} whether this model has all that a recipe speaks of */
export function fits(recipe, { latent_dim, directions, classes }) {
  if (recipe.kind === "mix") return [recipe.a, recipe.b].every((end) => fits(end, { latent_dim, directions, classes }));
  if (recipe.kind === "seed") return recipe.label === null || recipe.label < classes.length;
  const known = ([axis, index]) => index < (axis === "d" ? latent_dim : directions.length);
  const axes = Object.keys(recipe.amounts).map((key) => [key[0], Number(key.slice(1))]);
  return axes.every(known) && fits(recipe.base, { latent_dim, directions, classes });
}

/** @returns {string} a few words for people */
export function describe(recipe) {
  if (recipe.kind === "seed") return `Seed ${recipe.seed}`;
  if (recipe.kind === "edit") return `${describe(recipe.base)}, edited`;
  if (recipe.a.kind === "seed" && recipe.b.kind === "seed") {
    return `${Math.round(100 * recipe.t)}% from seed ${recipe.a.seed} to ${recipe.b.seed}`;
  }
  const seeds = seedsOf(recipe);
  const rest = seeds.length - 4;
  return `A blend of seeds ${seeds.slice(0, 4).join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
}

/** @returns {string} the text of a recipe, for a link */
export function writeRecipe(recipe) {
  if (recipe.kind === "seed") return recipe.label === null ? `${recipe.seed}` : `${recipe.seed}:${recipe.label}`;
  if (recipe.kind === "mix") {
    return `${recipe.path === "slerp" ? "m" : "l"}(${writeRecipe(recipe.a)},${writeRecipe(recipe.b)},${recipe.t})`;
  }
  const amounts = Object.entries(recipe.amounts).map(([axis, amount]) => `${axis}:${amount}`);
  return `e(${[writeRecipe(recipe.base), ...amounts].join(",")})`;
}

/**
 * Reads what writeRecipe writes; throws a SyntaxError for anything else.
 * @param {string} text
 * @returns {Recipe}
 */
export function readRecipe(text) {
  if (text.length > MAX_LENGTH) throw new SyntaxError("this picture's recipe is too long");
  const reader = { text, at: 0 };
  const recipe = readNested(reader, 0);
  if (reader.at !== text.length) throw unreadable(text);
  return recipe;
}

function readNested(reader, depth) {
  if (depth > MAX_DEPTH) throw unreadable(reader.text);
  const kind = accept(reader, /([mle])\(/y)?.[1];
  if (kind === undefined) return readSeed(reader);
  const first = readNested(reader, depth + 1);
  if (kind === "e") {
    const amounts = {};
    for (let found; (found = accept(reader, /,([dp]\d{1,5}):(-?\d{1,4}(?:\.\d+)?)/y)); ) {
      amounts[found[1]] = Number(found[2]);
    }
    expect(reader, /\)/y);
    return edit(first, amounts);
  }
  expect(reader, /,/y);
  const second = readNested(reader, depth + 1);
  const t = Number(expect(reader, /,([01](?:\.\d+)?)\)/y)[1]);
  return mix(first, second, Math.min(t, 1), kind === "m" ? "slerp" : "lerp");
}

function readSeed(reader) {
  const [, number, label] = expect(reader, /(\d{1,10})(?::(\d{1,5}))?/y);
  if (number > MAX_SEED) throw new SyntaxError(`seed ${number} is too large; the largest is ${MAX_SEED}`);
  return seed(Number(number), label === undefined ? null : Number(label));
}

function accept(reader, pattern) {
  pattern.lastIndex = reader.at;
  const found = pattern.exec(reader.text);
  if (found) reader.at = pattern.lastIndex;
  return found;
}

function expect(reader, pattern) {
  const found = accept(reader, pattern);
  if (!found) throw unreadable(reader.text);
  return found;
}

function unreadable(text) {
  return new SyntaxError(`"${text.slice(0, 40)}" is not a picture's recipe`);
}

function rounded(number) {
  return Number(number.toFixed(DIGITS));
}
