/** Canvas painting: images and latents. */

const PIXELATED_UP_TO = 32; // resolution up to which pixels stay sharp squares

/**
 * Paints one image of a batch.
 * @param {HTMLCanvasElement} canvas
 * @param {import("./npy.js").Tensor} images uint8 [N, H, W, C], grey or RGB
 * @param {number} index
 */
export function paintImage(canvas, images, index) {
  const [, height, width, channels] = images.shape;
  const pixels = new ImageData(width, height);
  const start = index * height * width * channels;
  for (let pixel = 0; pixel < height * width; pixel++) {
    for (let channel = 0; channel < 3; channel++) {
      pixels.data[4 * pixel + channel] = images.data[start + channels * pixel + (channels === 3 ? channel : 0)];
    }
    pixels.data[4 * pixel + 3] = 255;
  }
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  canvas.classList.toggle("pixelated", width <= PIXELATED_UP_TO);
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
 * Sets the sizes of thumbnails and preview to multiples of the resolution, so that pixels stay square.
 * @param {number} resolution
 */
export function setImageSizes(resolution) {
  const nearest = (pixels) => resolution * Math.max(1, Math.round(pixels / resolution));
  const style = document.documentElement.style;
  style.setProperty("--thumb", `${Math.min(nearest(116), 160)}px`);
  style.setProperty("--preview", `${Math.min(nearest(256), 320)}px`);
}
