/** Seed lists: parsing, formatting and random ranges. */

export const MAX_SEED = 2 ** 32 - 1;
export const PAGE_SIZE = 48; // pictures on a fresh page, and the number that "More" adds
export const MAX_SEEDS = 480; // pictures in the sample grid

/**
 * Parses seeds and ranges such as "3, 7, 12-20"; throws a RangeError that names the mistake.
 * @param {string} text
 * @returns {number[]}
 */
export function parseSeeds(text) {
  const seeds = [];
  for (const part of text.split(/[\s,;]+/).filter(Boolean)) {
    const match = /^(\d{1,10})(?:-(\d{1,10}))?$/.exec(part);
    if (!match) throw new RangeError(`"${part.slice(0, 20)}" is not a seed; write 7, or 0-47, or 3, 7, 12-20`);
    const [first, last] = [Number(match[1]), Number(match[2] ?? match[1])];
    if (last > MAX_SEED) throw new RangeError(`seed ${last} is too large; the largest is ${MAX_SEED}`);
    if (last < first) throw new RangeError(`${part} runs backwards; write ${last}-${first}`);
    if (seeds.length + last - first >= MAX_SEEDS) throw new RangeError(`these are more than ${MAX_SEEDS} seeds`);
    for (let number = first; number <= last; number++) seeds.push(number);
  }
  if (!seeds.length) throw new RangeError("write one seed or more, such as 0-47");
  return seeds;
}

/** @returns {string} seeds with consecutive ones as ranges, such as "3,7,12-20" */
export function formatSeeds(seeds) {
  const ranges = [];
  for (const number of seeds) {
    const range = ranges.at(-1);
    if (range && range[1] + 1 === number) range[1] = number;
    else ranges.push([number, number]);
  }
  return ranges.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(",");
}

/** @returns {number[]} consecutive seeds, starting at `first` or at a random seed; after MAX_SEED comes 0 */
export function consecutiveSeeds(first = null, count = PAGE_SIZE) {
  const start = first ?? crypto.getRandomValues(new Uint32Array(1))[0];
  return Array.from({ length: count }, (_, index) => (start + index) % (MAX_SEED + 1));
}
