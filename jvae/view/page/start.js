"use strict";
// The start: unpack the data, build the page, and describe its model.

async function start() {
  const data = JSON.parse($("data").textContent), { center, axes } = data.projection, { z, mean } = data.check;
  const { coordinates, means, images, labels, prior, drawing } = data;
  const packed = { coordinates, means, images, labels, center, axes, z, mean, density: prior.density };
  if (drawing.encoder) Object.assign(packed, { loc: drawing.loc, scale: drawing.scale });
  const arrays = {};
  await Promise.all(Object.entries(packed).map(async ([name, array]) => (arrays[name] = await unpack(array))));
  const encoder = drawing.encoder && (await makeEncoder(drawing.encoder, data.decoder.shape));
  const explorer = new Explorer(data, arrays, await makeDecoder(data.decoder), encoder);
  const words = data.title.replaceAll(" = ", "\u00a0=\u00a0").split(/(?<=[_/:])/); // places where a long name may break
  $("model").replaceChildren(...words.flatMap((word) => [document.createElement("wbr"), word]));
  $("plane").classList.toggle("line", explorer.map.line);
  if (data.level) document.querySelectorAll(".latent").forEach((z) => (z.innerHTML = "z<sub>1</sub>"));
  if (!prior.exact) $("prior-name").textContent = "prior density (an estimate from draws)";
  $("plane").setAttribute("aria-label", `Latent space: ${data.projection.labels.slice(0, 2).join(" and ")}`);
  addLegend(explorer);
  addSliders(explorer);
  addModes(explorer);
  explorer.map.resize();
  explorer.drawMap();
  explorer.listen();
  const said = (number) => number.toExponential(0).replace("-", "−");
  const most = Math.max(explorer.difference(), explorer.drawing?.difference() ?? 0);
  $("about").textContent = [
    `${explorer.n.toLocaleString("en")} test images. Everything is computed in the browser, within ${said(most)} of`,
    `what JAX computes with the same weights; keeping them in 16 bits changes a pixel by at most ${said(data.rounding)}.`,
    ...(drawing.obstacle ? [`Drawing is not available: ${drawing.obstacle}.`] : []),
  ].join(" ");
  document.body.dataset.ready = "true";
  window.explorer = explorer; // for the console
}

start().catch((error) => {
  $("model").textContent = `This page could not be shown: ${error.message}. It needs a browser of 2023 or later.`;
  throw error;
});
