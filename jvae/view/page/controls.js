"use strict";
// Controls: the modes of the probe, the classes, and the components off the plane.

/** One button per class, disabled for a class without points. */
function addLegend(explorer) {
  const withPoints = new Set(explorer.arrays.labels.numbers);
  const longest = Math.max(...explorer.data.classes.map(({ name }) => name.length));
  $("legend").style.setProperty("--entry", `${1.35 + 0.55 * longest}rem`);
  explorer.data.classes.forEach(({ name, colour }, label) => {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: name, disabled: !withPoints.has(label) });
    if (button.disabled) button.title = "no test image of this class is shown";
    button.setAttribute("aria-pressed", "false");
    button.setAttribute("aria-label", `class ${name}`);
    button.style.setProperty("--class", colour);
    button.addEventListener("click", () => {
      const pressed = explorer.chosen.delete(label) === false && Boolean(explorer.chosen.add(label));
      button.setAttribute("aria-pressed", String(pressed));
      $("legend").classList.toggle("some", explorer.chosen.size > 0);
      explorer.drawMap();
    });
    $("legend").append(button);
  });
  $("legend").hidden = explorer.data.classes.length === 1;
}

/** A slider for each further principal component, in descending order of variance. */
function addSliders(explorer) {
  const { labels, deviations } = explorer.data.projection, axes = deviations.slice(2, 10).map((_, i) => i + 2);
  if (axes.length === 0) return;
  $("components").hidden = false;
  explorer.sliders = axes.map((axis) => {
    const label = document.createElement("label"), reach = 3 * deviations[axis];
    const [, share] = labels[axis].match(/\(([\d.]+)%/);
    label.innerHTML = "<span></span><input type='range' step='any'><output></output>";
    const [span, input, output] = label.children;
    span.textContent = `PC ${axis + 1} · ${Math.round(share)}%`;
    input.setAttribute("aria-label", labels[axis]);
    Object.assign(input, { min: -reach, max: reach });
    input.addEventListener("input", () => ((explorer.position[axis] = Number(input.value)), explorer.changed()));
    $("sliders").append(label);
    return { input, output, axis };
  });
}

/** Show the elements of a mode, and its content. */
function addModes(explorer) {
  const radios = document.querySelectorAll("[name=mode]");
  const show = (mode) => {
    explorer.mode = document.querySelector("main").dataset.mode = mode;
    for (const part of document.querySelectorAll("[data-in]")) {
      part.toggleAttribute("hidden", !part.dataset.in.split(" ").includes(mode) || (part.id === "components" && !explorer.sliders));
    }
    explorer.hovered = undefined;
    if (mode === "draw" && explorer.drawing.q) explorer.drawing.toMean();
    if (mode === "interpolate") explorer.interpolation.walkTo(explorer.interpolation.share);
    explorer.changed();
  };
  radios.forEach((radio) => radio.addEventListener("change", () => show(radio.value)));
  $("draw-mode").hidden = !explorer.drawing;
  radios[0].checked = true; // a browser may restore another one
  show("explore");
}
