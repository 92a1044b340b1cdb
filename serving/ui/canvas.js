/** Canvas painting: images and latents. */

const PIXELATED_UP_TO = 32; // shorter side up to which pixels stay sharp squares
const THUMB = { side: 116, largest: 160 }; // pixels, of a square
const PREVIEW = { side: 256, largest: 320 };

/**
 * Paints one image of a batch.
 * @param {HTMLCanvasElement} canvas
 * @param {import("./npy.js").Tensor} images uint8 [N, H, W, C], grey, RGB or RGBA
 * @param {number} index
 */
export function paintImage(canvas, images, index) {
  const [, height, width, channels] = images.shape;
  const pixels = new ImageData(width, height);
  const start = index * height * width * channels;
  for (let pixel = 0; pixel < height * width; pixel++) {
    const values = start + channels * pixel;
    for (let channel = 0; channel < 3; channel++) {
      pixels.data[4 * pixel + channel] = images.data[values + (channels === 1 ? 0 : channel)];
    }
    pixels.data[4 * pixel + 3] = channels === 4 ? images.data[values + 3] : 255;
  }
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  canvas.classList.toggle("pixelated", Math.min(height, width) <= PIXELATED_UP_TO);
  canvas.classList.toggle("transparent", channels === 4);
}

/**
 * Paints a latent as a bar chart around a centre line, in the canvas's text colour.
 * @param {HTMLCanvasElement} canvas
 * @param {Float32Array} latent
 */
export function paintBars(canvas, latent) {
  const ratio = devicePixelRatio;
  const { width, height } = canvas.getBoundingClientRect();
  Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
  const context = canvas.getContext("2d");
  context.fillStyle = getComputedStyle(canvas).color;
  const largest = Math.max(3, ...latent.map(Math.abs));
  const column = canvas.width / latent.length;
  const middle = canvas.height / 2;
  latent.forEach((value, index) => {
    const length = (value / largest) * middle;
    context.fillRect(index * column, middle - Math.max(length, 0), Math.max(column * 0.7, 1), Math.abs(length));
  });
}

/**
 * Sets the sizes of thumbnails and preview to multiples of the model's, so that pixels stay square.
 * @param {number} height of the model's images
 * @param {number} width
 */
export function setImageSizes(height, width) {
  const factor = (side, { side: wanted, largest }) =>
    Math.min(Math.max(1, Math.round(wanted / side)), largest / side);
  const style = document.documentElement.style;
  style.setProperty("--aspect", `${width} / ${height}`);
  style.setProperty("--thumb", `${width * factor(Math.sqrt(height * width), THUMB)}px`);
  style.setProperty("--preview", `${width * factor(Math.max(height, width), PREVIEW)}px`);
}
