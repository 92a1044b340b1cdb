/** Pictures of recipes: latents are computed here, the service only runs the network. */

import { latentOf } from "./latents.js";
import { readNpy, writeNpy } from "./npy.js";
import { leafOf, seedsOf } from "./recipes.js";

/** @typedef {import("./recipes.js").Recipe} Recipe */
/** @typedef {import("./npy.js").Tensor} Tensor */

const LISTED = 256; // images whose labels fit a header, and an address
const FLOAT32_DIGITS = 9; // so many give every float32 back exactly

/** One model of the service, and what was learned of its seeds. */
export class Studio {
  #service;
  #latents = new Map(); // Float32Array by seed
  #labels = new Map(); // the classes drawn, by seed
  #numbered; // whether classes have numbers for names, which could be taken for indices

  /**
   * @param {import("./service.js").Service} service
   * @param {object} model the answer to GET /model
   */
  constructor(service, model) {
    this.#service = service;
    this.id = model.model_id;
    this.card = { directions: [], ...model.card };
    this.#numbered = this.card.classes.some((name) => /^\d+$/.test(name));
    this.maxImages = Math.min(model.limits.max_images, LISTED);
    this.maxSize = model.limits.max_size;
  }

  /**
   * Pictures of seeds, straight from the service.
   * @param {number[]} seeds
   * @param {number | null} label null: as drawn for each seed
   * @returns {Promise<Tensor>} uint8 [N, H, W, C]
   */
  async sheet(seeds, label, truncation, signal) {
    const images = [];
    for (const some of parts(seeds, this.maxImages)) {
      const labels = label === null ? {} : { labels: this.asked(label) };
      const asked = { seeds: some, ...labels, truncation, format: "npy", model: this.id };
      const { headers, body } = await this.#service.post("generate", asked, signal, bytes);
      if (label === null) this.#remember(some, headers.get("X-Mint-Labels"));
      images.push(readNpy(body));
    }
    return joined(images);
  }

  /**
   * Pictures of recipes, from latents computed here.
   * @param {Recipe[]} recipes
   * @returns {Promise<Tensor>} uint8 [N, H, W, C]
   */
  async images(recipes, truncation, signal) {
    const { latents, labels } = await this.inputs(recipes, signal);
    const images = [];
    for (const part of parts([...latents.keys()], this.maxImages)) {
      const query = new URLSearchParams({ truncation, format: "npy", model: this.id });
      for (const label of shortened(part.map((row) => labels[row]))) query.append("labels", this.asked(label));
      const rows = Float32Array.from(part.flatMap((row) => [...latents[row]]));
      const headers = { "Content-Type": "application/x-npy" };
      const body = writeNpy(rows, [part.length, this.card.latent_dim]);
      const answer = await this.#service.ask(`generate?${query}`, { method: "POST", headers, body, signal }, bytes);
      images.push(readNpy(answer.body));
    }
    return joined(images);
  }

  /**
   * What the network is fed for recipes.
   * @param {Recipe[]} recipes
   * @returns {Promise<{latents: Float32Array[], labels: (number | null)[]}>} latents before truncation
   */
  async inputs(recipes, signal) {
    await this.#learn(new Set(recipes.flatMap(seedsOf)), signal);
    const drawn = (seed) => this.#latents.get(seed);
    const latents = recipes.map((recipe) => Float32Array.from(latentOf(recipe, drawn, this.card.directions)));
    return { latents, labels: recipes.map((recipe) => this.labelOf(recipe)) };
  }

  /** @returns {number | null} the class of a recipe; null without classes, and while it is not known */
  labelOf(recipe) {
    const { seed, label } = leafOf(recipe);
    return label ?? this.#labels.get(seed) ?? null;
  }

  /** A class as a request names it: by index, or by name where an index could be another one's name. */
  asked(label) {
    return this.#numbered ? this.card.classes[label] : label;
  }

  /**
   * Recipes as fields of a JSON body: seeds where there is nothing else, latents otherwise.
   * @param {Recipe[]} recipes
   * @returns {Promise<{seeds?: number[], latents?: number[][], labels?: (number | string)[]}>}
   */
  async fields(recipes, signal) {
    const onlySeeds = recipes.every(({ kind }) => kind === "seed");
    if (onlySeeds && recipes.every(({ label }) => label === null)) return { seeds: recipes.map(({ seed }) => seed) };
    const { latents, labels } = await this.inputs(recipes, signal);
    const rows = latents.map((latent) => Array.from(latent, (number) => Number(number.toPrecision(FLOAT32_DIGITS))));
    const source = onlySeeds ? { seeds: recipes.map(({ seed }) => seed) } : { latents: rows };
    const known = shortened(labels);
    return known.length ? { ...source, labels: known.map((label) => this.asked(label)) } : source;
  }

  async #learn(seeds, signal) {
    const unknown = [...seeds].filter((seed) => !this.#latents.has(seed));
    for (const some of parts(unknown, this.maxImages)) {
      const asked = { seeds: some, format: "json", model: this.id };
      const { body } = await this.#service.post("generate", asked, signal);
      for (const { seed, latent, label } of body.images) {
        this.#latents.set(seed, Float32Array.from(latent));
        this.#labels.set(seed, label);
      }
    }
  }

  #remember(seeds, labels) {
    labels?.split(",").forEach((label, index) => this.#labels.set(seeds[index], Number(label)));
  }
}

const bytes = (response) => response.arrayBuffer();

/** One label for all where they are the same; none for a model without classes. */
function shortened(labels) {
  if (labels[0] === null) return [];
  return labels.every((label) => label === labels[0]) ? labels.slice(0, 1) : labels;
}

function* parts(list, size) {
  for (let start = 0; start < list.length; start += size) yield list.slice(start, start + size);
}

function joined(tensors) {
  if (tensors.length === 1) return tensors[0];
  const data = new Uint8Array(tensors.reduce((size, tensor) => size + tensor.data.length, 0));
  let end = 0;
  for (const tensor of tensors) {
    data.set(tensor.data, end);
    end += tensor.data.length;
  }
  return { shape: [tensors.reduce((count, { shape }) => count + shape[0], 0), ...tensors[0].shape.slice(1)], data };
}
