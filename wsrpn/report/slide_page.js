"use strict";
// A view is the part of a slide that is shown, in full-size pixels: the viewBox of one SVG.
const SVG = "http://www.w3.org/2000/svg";
const by = (id) => document.getElementById(id);
const slides = JSON.parse(by("slides").textContent);
const shared = JSON.parse(by("shared").textContent);
const stage = by("stage");
let slide = null, view = null, values = null, drawn = null, layers = {}, rings = [];

function make(kind, attributes, parent) {
  const node = document.createElementNS(SVG, kind);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (parent) parent.appendChild(node);
  return node;
}

function image(layer, parent, cells) {
  const [x, y, width, height] = layer.box;
  return make("image", { href: layer.src, x, y, width, height, preserveAspectRatio: "none",
    class: cells ? "cells" : "" }, parent);
}

// An outline is two lines; the white ones of both outlines lie below the coloured ones, and the
// truth is dashed, so that both are seen where they run along the same edges.
function lines(path, colour, dashed) {
  if (!path) return [];
  return [make("path", { d: path, class: "halo" }),
    make("path", { d: path, class: dashed ? "line dashed" : "line", stroke: colour })];
}

function open(index) {
  slide = slides[index];
  if (drawn) drawn.remove();
  drawn = make("svg", { preserveAspectRatio: "xMidYMid meet", role: "img" });
  drawn.setAttribute("aria-label", slide.name);
  const over = slide.rings.length ? make("g", {}) : null;
  rings = slide.rings.map(([cx, cy]) =>
    make("circle", { cx, cy, class: "ring", stroke: shared.tumour }, over));
  layers = {
    slide: [image(slide.slide, drawn, slide.slide.cells)],
    heat: [image(slide.heat, drawn, true)],
    found: lines(slide.found, shared.called, false),
    tumour: lines(slide.tumour, shared.tumour, true),
  };
  const outlines = [layers.found, layers.tumour];
  for (const depth of [0, 1])
    for (const pair of outlines) if (pair.length) drawn.appendChild(pair[depth]);
  if (over) {
    drawn.appendChild(over);
    layers.tumour.push(over);
  }
  stage.prepend(drawn);
  words(index);
  read();
  whole();
  toggle();
}

function words(index) {
  by("name").textContent = slide.name;
  by("facts").textContent = `${slide.truth}. ${slide.called}. Colours: ${slide.meaning}.`;
  by("caution").textContent = slide.caution;
  by("of-tumour").hidden = slide.tumour === null;
  by("of-found").hidden = slide.found === null;
  by("near").hidden = slide.zoom === null;
  by("near").textContent = slide.tumour ? "largest tumour" : "largest region";
  for (const button of by("list").querySelectorAll("button"))
    button.setAttribute("aria-current", String(Number(button.dataset.index) === index));
  const [low, high] = slide.colour, t = slide.threshold;
  by("low").textContent = `≤ ${number(low)}`;
  by("high").textContent = `≥ ${number(high)}`;
  const on = t !== null && t >= low && t <= high && high > low;
  by("mark").hidden = !on;
  if (on) by("mark").style.bottom = `${100 * (t - low) / (high - low)}%`;
}

// Values come back out of the colours, so that they need no second copy in the page.
function read() {
  values = null;
  const asked = slide, source = new Image();
  source.onload = () => {
    if (asked !== slide) return;
    const canvas = document.createElement("canvas");
    canvas.width = source.naturalWidth;
    canvas.height = source.naturalHeight;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(source, 0, 0);
    values = context.getImageData(0, 0, canvas.width, canvas.height);
  };
  source.src = slide.heat.src;
}

function value(x, y) {
  if (!values) return "";
  const [left, top, width, height] = slide.heat.box;
  const column = Math.floor((x - left) / width * values.width);
  const row = Math.floor((y - top) / height * values.height);
  if (column < 0 || row < 0 || column >= values.width || row >= values.height) return "";
  const at = 4 * (row * values.width + column), d = values.data;
  if (d[at + 3] === 0) return "";
  const place = shared.palette.indexOf(`rgb(${d[at]},${d[at + 1]},${d[at + 2]})`);
  const [low, high] = slide.colour, last = shared.palette.length - 1;
  const sign = place <= 0 ? "≤ " : place === last ? "≥ " : "";
  return ` · value ${sign}${number(low + (high - low) * place / last)}`;
}

function number(x) { return Number(x.toPrecision(3)).toString(); }

function show(next) {
  const ratio = stage.clientHeight / stage.clientWidth;
  const least = 40, most = 4 * Math.max(...slide.size, slide.frame[2] - slide.frame[0]);
  const width = Math.min(Math.max(next.width, least), most);
  view = { x: next.x, y: next.y, width };
  const height = width * ratio;
  drawn.setAttribute("viewBox", `${view.x - width / 2} ${view.y - height / 2} ${width} ${height}`);
  const pixel = width / stage.clientWidth;
  const near = 4 * width < slide.frame[2] - slide.frame[0];  // what a ring is for is seen by now
  for (const ring of rings) {
    ring.setAttribute("r", 9 * pixel);
    ring.style.display = near ? "none" : "";
  }
  ruler(pixel);
}

function fit([left, top, right, bottom]) {
  const ratio = stage.clientHeight / stage.clientWidth;
  show({ x: (left + right) / 2, y: (top + bottom) / 2,
    width: Math.max(right - left, (bottom - top) / ratio) });
}

function whole() { fit(slide.frame); }

function zoom(factor, x = view.x, y = view.y) {
  show({ x: x + (view.x - x) * factor, y: y + (view.y - y) * factor, width: view.width * factor });
}

function place(event) {
  const box = stage.getBoundingClientRect(), pixel = view.width / box.width;
  return [view.x + (event.clientX - box.left - box.width / 2) * pixel,
    view.y + (event.clientY - box.top - box.height / 2) * pixel];
}

function ruler(pixel) {
  by("ruler").hidden = !slide.mpp;
  if (!slide.mpp) return;
  const most = 140 * pixel * slide.mpp, tens = 10 ** Math.floor(Math.log10(most));
  const length = [5, 2, 1].map((n) => n * tens).find((n) => n <= most);
  by("ruler").firstElementChild.style.width = `${length / slide.mpp / pixel}px`;
  by("ruler").lastElementChild.textContent =
    length >= 1000 ? `${number(length / 1000)} mm` : `${number(length)} µm`;
}

function toggle() {
  for (const [name, nodes] of Object.entries(layers))
    for (const node of nodes) node.style.display = by(`show-${name}`).checked ? "" : "none";
  layers.heat[0].style.opacity = by("opacity").value / 100;
}

const touches = new Map();
stage.addEventListener("pointerdown", (event) => {
  if (event.target.closest("#buttons")) return;
  stage.setPointerCapture(event.pointerId);
  stage.classList.add("moving");
  touches.set(event.pointerId, event);
});
stage.addEventListener("pointermove", (event) => {
  const before = touches.get(event.pointerId);
  if (before && touches.size === 1) {
    const pixel = view.width / stage.clientWidth;
    show({ x: view.x - (event.clientX - before.clientX) * pixel,
      y: view.y - (event.clientY - before.clientY) * pixel, width: view.width });
  } else if (before && touches.size === 2) {
    const other = [...touches.values()].find((one) => one.pointerId !== event.pointerId);
    const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
    zoom(apart(before) / Math.max(apart(event), 1), ...place(other));
  }
  if (before) touches.set(event.pointerId, event);
  const [x, y] = place(event);
  by("here").textContent = `${Math.round(x)}, ${Math.round(y)} px${value(x, y)}`;
});
for (const kind of ["pointerup", "pointercancel"])
  stage.addEventListener(kind, (event) => {
    touches.delete(event.pointerId);
    if (!touches.size) stage.classList.remove("moving");
  });
stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.0045), ...place(event));
}, { passive: false });
stage.addEventListener("dblclick", (event) => zoom(0.5, ...place(event)));
stage.addEventListener("keydown", (event) => {
  const step = view.width / 10;
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step],
    ArrowDown: [0, step] };
  if (moves[event.key]) {
    const [x, y] = moves[event.key];
    show({ x: view.x + x, y: view.y + y, width: view.width });
  } else if (event.key === "+" || event.key === "=") zoom(0.7);
  else if (event.key === "-") zoom(1 / 0.7);
  else if (event.key === "0") whole();
  else if (event.key === "1" && slide.zoom) fit(slide.zoom);
  else return;
  event.preventDefault();
});
by("in").addEventListener("click", () => zoom(0.6));
by("out").addEventListener("click", () => zoom(1 / 0.6));
by("whole").addEventListener("click", whole);
by("near").addEventListener("click", () => fit(slide.zoom));
by("layers").addEventListener("input", toggle);
by("list").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) open(Number(button.dataset.index));
});
by("filter").addEventListener("input", () => {
  const wanted = by("filter").value.toLowerCase();
  for (const item of by("list").children)
    item.hidden = !item.textContent.toLowerCase().includes(wanted);
});
window.addEventListener("resize", () => { if (slide) show(view); });

by("ramp").style.background = `linear-gradient(to top, ${shared.palette.join(", ")})`;
document.querySelector("i.tumour").style.borderColor = shared.tumour;
document.querySelector("i.found").style.borderColor = shared.called;
by("filter").hidden = slides.length < 8;
// A link such as page.html#tumor_036 opens at that slide.
const named = slides.findIndex((one) => one.name === decodeURIComponent(location.hash.slice(1)));
if (slides.length) open(Math.max(0, named));
document.body.dataset.ready = String(slides.length);
