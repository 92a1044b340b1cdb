/** Latent arithmetic: from what a recipe says to the numbers that the network is fed. */

/** @typedef {import("./recipes.js").Recipe} Recipe */

const PARALLEL = 1e-4; // below this sine there is no one arc between two vectors

/**
 * The point on the straight line from a to b.
 * @param {ArrayLike<number>} a
 * @param {ArrayLike<number>} b
 * @param {number} t 0 is a, 1 is b
 * @returns {Float64Array}
 */
export function lerp(a, b, t) {
  return Float64Array.from(a, (value, i) => (1 - t) * value + t * b[i]);
}

/**
 * The point on the arc from a to b (White 2016, "Sampling Generative Networks").
 *
 * Nearly all of a Gaussian lies on a shell; a straight line would cut through its empty middle.
 * @param {ArrayLike<number>} a
 * @param {ArrayLike<number>} b
 * @param {number} t 0 is a, 1 is b
 * @returns {Float64Array}
 */
export function slerp(a, b, t) {
  const lengths = norm(a) * norm(b);
  const angle = lengths ? Math.acos(Math.min(1, Math.max(-1, dot(a, b) / lengths))) : 0;
  const sine = Math.sin(angle);
  if (sine < PARALLEL) return lerp(a, b, t);
  const [share, other] = [Math.sin((1 - t) * angle) / sine, Math.sin(t * angle) / sine];
  return Float64Array.from(a, (value, i) => share * value + other * b[i]);
}

/**
 * The length of a vector.
 * @param {ArrayLike<number>} vector
 * @returns {number}
 */
export function norm(vector) {
  return Math.sqrt(dot(vector, vector));
}

/**
 * The latent of a recipe, before truncation.
 * @param {Recipe} recipe
 * @param {(seed: number) => Float32Array} drawn what the service draws for a seed
 * @param {number[][]} directions unit vectors, the strongest first
 * @returns {Float64Array}
 */
export function latentOf(recipe, drawn, directions) {
  if (recipe.kind === "seed") return Float64Array.from(drawn(recipe.seed));
  if (recipe.kind === "mix") {
    const [a, b] = [recipe.a, recipe.b].map((end) => latentOf(end, drawn, directions));
    return (recipe.path === "slerp" ? slerp : lerp)(a, b, recipe.t);
  }
  const latent = latentOf(recipe.base, drawn, directions);
  for (const [axis, amount] of Object.entries(recipe.amounts)) {
    const index = Number(axis.slice(1));
    if (axis[0] === "d") latent[index] += amount;
    else directions[index].forEach((value, i) => (latent[i] += amount * value));
  }
  return latent;
}

function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}
