/** NumPy's .npy format, version 1.0: the service returns images in it and accepts latents. */

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0];
const PREFIX = MAGIC.length + 2; // followed by the header's length as uint16
const ALIGNMENT = 64;
const ARRAY_TYPES = { "|u1": Uint8Array, "<f4": Float32Array };

/** @typedef {{shape: number[], data: Uint8Array | Float32Array}} Tensor in C order */

/**
 * Parses a .npy file of uint8 or float32; throws a TypeError for anything else.
 * @param {ArrayBuffer} buffer
 * @returns {Tensor}
 */
export function readNpy(buffer) {
  const bytes = new Uint8Array(buffer);
  if (MAGIC.some((byte, index) => bytes[index] !== byte)) {
    throw new TypeError("the response is not a .npy file of version 1.0");
  }
  const start = PREFIX + new DataView(buffer).getUint16(MAGIC.length, true);
  const header = new TextDecoder().decode(bytes.subarray(PREFIX, start));
  const descr = /'descr': *'([^']+)'/.exec(header)?.[1];
  const dimensions = /'shape': *\(([^)]*)\)/.exec(header)?.[1];
  if (!(descr in ARRAY_TYPES) || dimensions === undefined || /'fortran_order': *True/.test(header)) {
    throw new TypeError(`the response is a .npy file of an unsupported type: ${header.trim()}`);
  }
  const shape = dimensions.split(",").filter((size) => size.trim()).map(Number);
  const data = new ARRAY_TYPES[descr](buffer.slice(start));
  if (data.length !== shape.reduce((product, size) => product * size, 1)) {
    throw new TypeError("the response is a truncated .npy file");
  }
  return { shape, data };
}

/**
 * Serializes float32 numbers as a .npy file.
 * @param {Float32Array} data in C order
 * @param {number[]} shape
 * @returns {Uint8Array}
 */
export function writeNpy(data, shape) {
  const dictionary = `{'descr': '<f4', 'fortran_order': False, 'shape': (${shape.join(", ")},), }`;
  const size = Math.ceil((PREFIX + dictionary.length + 1) / ALIGNMENT) * ALIGNMENT;
  const file = new Uint8Array(size + data.byteLength);
  file.set(MAGIC);
  new DataView(file.buffer).setUint16(MAGIC.length, size - PREFIX, true);
  file.set(new TextEncoder().encode(dictionary.padEnd(size - PREFIX - 1) + "\n"), PREFIX);
  file.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), size);
  return file;
}
