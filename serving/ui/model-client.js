/** Model client: computes latents from image specs and has the service run the network on them. */

import { classSeed, seedsOf } from "./image-spec.js";
import { latentOf } from "./latents.js";
import { readNpy, writeNpy } from "./npy.js";

/** @typedef {import("./image-spec.js").ImageSpec} ImageSpec */
/** @typedef {import("./npy.js").Tensor} Tensor */

const MAX_LABELS = 256; // labels that fit in a response header and in a URL
const FLOAT32_DIGITS = 9; // significant digits that identify every float32

/** One model of the service, with a cache of the latents and classes of seeds. */
export class ModelClient {
  #api;
  #latents = new Map(); // Float32Array by seed
  #labels = new Map(); // class index by seed
  #numericNames; // true if class names are numbers, which the service could take for indices

  /**
   * @param {import("./api-client.js").ApiClient} api
   * @param {object} model body of GET /model
   */
  constructor(api, model) {
    this.#api = api;
    this.id = model.model_id;
    this.card = { directions: [], ...model.card };
    // 64 for a square, "96x64" for any other size: height, then width.
    [this.height, this.width = this.height] = String(this.card.resolution).split("x").map(Number);
    this.#numericNames = this.card.classes.some((name) => /^\d+$/.test(name));
    this.maxImages = Math.min(model.limits.max_images, MAX_LABELS);
  }

  /**
   * Generates images from seeds.
   * @param {number[]} seeds
   * @param {number | null} label null: each seed's own class
   * @returns {Promise<Tensor>} uint8 [N, H, W, C]
   */
  async imagesOfSeeds(seeds, label, truncation, signal) {
    const images = [];
    for (const chunk of chunks(seeds, this.maxImages)) {
      const labels = label === null ? {} : { labels: this.labelParameter(label) };
      const request = { seeds: chunk, ...labels, truncation, format: "npy", model: this.id };
      const { headers, body } = await this.#api.post("generate", request, signal, arrayBuffer);
      if (label === null) this.#cacheLabels(chunk, headers.get("X-Mint-Labels"));
      images.push(readNpy(body));
    }
    return concatenate(images);
  }

  /**
   * Generates images from specs, whose latents are computed here.
   * @param {ImageSpec[]} specs
   * @returns {Promise<Tensor>} uint8 [N, H, W, C]
   */
  async imagesOfSpecs(specs, truncation, signal) {
    const { latents, labels } = await this.inputs(specs, signal);
    const images = [];
    for (const rows of chunks([...latents.keys()], this.maxImages)) {
      const query = new URLSearchParams({ truncation, format: "npy", model: this.id });
      const chunkLabels = collapse(rows.map((row) => labels[row]));
      for (const label of chunkLabels) query.append("labels", this.labelParameter(label));
      const values = Float32Array.from(rows.flatMap((row) => [...latents[row]]));
      const headers = { "Content-Type": "application/x-npy" };
      const init = { method: "POST", headers, body: writeNpy(values, [rows.length, this.card.latent_dim]), signal };
      const response = await this.#api.request(`generate?${query}`, init, arrayBuffer);
      images.push(readNpy(response.body));
    }
    return concatenate(images);
  }

  /**
   * Computes the network's inputs.
   * @param {ImageSpec[]} specs
   * @returns {Promise<{latents: Float32Array[], labels: (number | null)[]}>} latents before truncation
   */
  async inputs(specs, signal) {
    await this.#fetchLatents(new Set(specs.flatMap(seedsOf)), signal);
    const seedLatent = (seed) => this.#latents.get(seed);
    const latents = specs.map((spec) => Float32Array.from(latentOf(spec, seedLatent, this.card.directions)));
    return { latents, labels: specs.map((spec) => this.labelOf(spec)) };
  }

  /** @returns {number | null} class index; null for a model without classes, and while it is not known */
  labelOf(spec) {
    const { seed, label } = classSeed(spec);
    return label ?? this.#labels.get(seed) ?? null;
  }

  /** @returns {number | string} a class for a request: its index, or its name where an index could be a name too */
  labelParameter(label) {
    return this.#numericNames ? this.card.classes[label] : label;
  }

  /**
   * Fields of a JSON body for specs: seeds if all of them are plain seeds, latents otherwise.
   * @param {ImageSpec[]} specs
   * @returns {Promise<{seeds?: number[], latents?: number[][], labels?: (number | string)[]}>}
   */
  async bodyFields(specs, signal) {
    const onlySeeds = specs.every(({ kind }) => kind === "seed");
    if (onlySeeds && specs.every(({ label }) => label === null)) return { seeds: specs.map(({ seed }) => seed) };
    const { latents, labels } = await this.inputs(specs, signal);
    const rows = latents.map((latent) => Array.from(latent, (number) => Number(number.toPrecision(FLOAT32_DIGITS))));
    const source = onlySeeds ? { seeds: specs.map(({ seed }) => seed) } : { latents: rows };
    const known = collapse(labels);
    return known.length ? { ...source, labels: known.map((label) => this.labelParameter(label)) } : source;
  }

  async #fetchLatents(seeds, signal) {
    const missing = [...seeds].filter((seed) => !this.#latents.has(seed));
    for (const chunk of chunks(missing, this.maxImages)) {
      const { body } = await this.#api.post("generate", { seeds: chunk, format: "json", model: this.id }, signal);
      for (const { seed, latent, label } of body.images) {
        this.#latents.set(seed, Float32Array.from(latent));
        this.#labels.set(seed, label);
      }
    }
  }

  #cacheLabels(seeds, header) {
    header?.split(",").forEach((label, index) => this.#labels.set(seeds[index], Number(label)));
  }
}

const arrayBuffer = (response) => response.arrayBuffer();

/** One label if all are equal; none for a model without classes. */
function collapse(labels) {
  if (labels[0] === null) return [];
  return labels.every((label) => label === labels[0]) ? labels.slice(0, 1) : labels;
}

function* chunks(list, size) {
  for (let start = 0; start < list.length; start += size) yield list.slice(start, start + size);
}

/** Concatenates tensors along their first dimension. */
function concatenate(tensors) {
  if (tensors.length === 1) return tensors[0];
  const data = new Uint8Array(tensors.reduce((size, tensor) => size + tensor.data.length, 0));
  let end = 0;
  for (const tensor of tensors) {
    data.set(tensor.data, end);
    end += tensor.data.length;
  }
  return { shape: [tensors.reduce((count, { shape }) => count + shape[0], 0), ...tensors[0].shape.slice(1)], data };
}
