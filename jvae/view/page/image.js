"use strict";
// Images: arrays drawn on a canvas.

/** Draw an image of numbers in [0, 1] (times `white`): grey for one channel, RGB for three, else the mean. */
function drawImage(canvas, numbers, [height, width, channels], white = 1) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d"), picture = context.createImageData(width, height);
  for (let p = 0; p < width * height; p++) {
    const pixel = numbers.subarray(p * channels, (p + 1) * channels);
    const colour = channels === 3 ? pixel : Array(3).fill(pixel.reduce((sum, value) => sum + value, 0) / channels);
    for (let c = 0; c < 3; c++) picture.data[4 * p + c] = Math.round((255 * colour[c]) / white);
    picture.data[4 * p + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
}
