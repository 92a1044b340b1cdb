/** Latent arithmetic: from an image spec to the network's input. */

/** @typedef {import("./image-spec.js").ImageSpec} ImageSpec */

const MIN_SINE = 1e-4; // below it the vectors are parallel and there is no unique arc between them

/**
 * Interpolates on the straight line from a to b.
 * @param {ArrayLike<number>} a
 * @param {ArrayLike<number>} b
 * @param {number} t 0 is a, 1 is b
 * @returns {Float64Array}
 */
export function lerp(a, b, t) {
  return Float64Array.from(a, (value, i) => (1 - t) * value + t * b[i]);
}

/**
 * Interpolates on the arc from a to b (White 2016, "Sampling Generative Networks").
 *
 * Nearly all of a high-dimensional Gaussian lies on a shell; a straight line would cut through its empty middle.
 * @param {ArrayLike<number>} a
 * @param {ArrayLike<number>} b
 * @param {number} t 0 is a, 1 is b
 * @returns {Float64Array}
 */
export function slerp(a, b, t) {
  const norms = norm(a) * norm(b);
  const angle = norms ? Math.acos(Math.min(1, Math.max(-1, dot(a, b) / norms))) : 0;
  const sine = Math.sin(angle);
  if (sine < MIN_SINE) return lerp(a, b, t);
  const [weightA, weightB] = [Math.sin((1 - t) * angle) / sine, Math.sin(t * angle) / sine];
  return Float64Array.from(a, (value, i) => weightA * value + weightB * b[i]);
}

/**
 * Euclidean norm of a vector.
 * @param {ArrayLike<number>} vector
 * @returns {number}
 */
export function norm(vector) {
  return Math.sqrt(dot(vector, vector));
}

/**
 * Computes the latent of an image spec, before truncation.
 * @param {ImageSpec} spec
 * @param {(seed: number) => Float32Array} seedLatent the service's latent for a seed
 * @param {number[][]} directions unit vectors, strongest first
 * @returns {Float64Array}
 */
export function latentOf(spec, seedLatent, directions) {
  if (spec.kind === "seed") return Float64Array.from(seedLatent(spec.seed));
  if (spec.kind === "blend") {
    const [a, b] = [spec.a, spec.b].map((end) => latentOf(end, seedLatent, directions));
    return (spec.path === "slerp" ? slerp : lerp)(a, b, spec.t);
  }
  const latent = latentOf(spec.base, seedLatent, directions);
  for (const [axis, amount] of Object.entries(spec.amounts)) {
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
