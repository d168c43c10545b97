"use strict";
// Draws the scene of the page: a structure with its symmetry elements and distortions, and sets of objects.
const scene = JSON.parse(document.getElementById("scene").textContent);
const V = (p) => ({ x: p[0], y: p[1], z: p[2] });
const plus = (p, q, t) => p.map((x, k) => x + t * q[k]);

function make(id) {
  const element = document.getElementById(id);
  const viewer = $3Dmol.createViewer(element, { backgroundColor: "white", antialias: true });
  const turns = { ArrowLeft: ["y", -10], ArrowRight: ["y", 10], ArrowUp: ["x", -10], ArrowDown: ["x", 10] };
  element.addEventListener("keydown", (event) => {
    if (turns[event.key]) viewer.rotate(turns[event.key][1], turns[event.key][0]);
    else if (event.key === "+" || event.key === "-") viewer.zoom(event.key === "+" ? 1.15 : 0.87);
    else return;
    event.preventDefault();
  });
  return viewer;
}

function disc(viewer, at, normal, radius, color) {
  const seed = Math.abs(normal[2]) < 0.9 ? [0, 0, 1] : [1, 0, 0];
  const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
  const u = cross(normal, seed), length = Math.hypot(...u), e = u.map((x) => x / length), f = cross(normal, e);
  const points = [at], faces = [], n = 40;
  for (let k = 0; k < n; k++) {
    const t = (2 * Math.PI * k) / n;
    points.push(plus(plus(at, e, radius * Math.cos(t)), f, radius * Math.sin(t)));
    faces.push(0, 1 + k, 1 + ((k + 1) % n), 0, 1 + ((k + 1) % n), 1 + k);
  }
  viewer.addCustom({ vertexArr: points.map(V), normalArr: points.map(() => V(normal)), faceArr: faces, color, opacity: 0.25 });
}

function drawElements(viewer, elements, at, radius, shown, thickness = 0.012) {
  const colors = { 2: "#555555", 3: "#268c4d", 4: "#1a5cb3", 5: "#e6730d", 6: "#99338c" };
  const axes = elements.filter((e) => e.kind === "axis");
  for (const e of shown.axes ? axes : []) {
    const ends = [-1, 1].map((t) => plus(at, e.direction, t * radius * 1.15));
    const color = colors[e.order] || "#d1495b";
    viewer.addCylinder({ start: V(ends[0]), end: V(ends[1]), radius: radius * thickness, color, fromCap: 1, toCap: 1 });
    if (axes.length <= 13)
      viewer.addLabel(e.label, { position: V(ends[1]), fontSize: 12, fontColor: color, backgroundColor: "white", backgroundOpacity: 0.7 }, undefined, true);
  }
  for (const e of shown.planes ? elements.filter((e) => e.kind === "plane") : []) disc(viewer, at, e.direction, radius, "#edae49");
  if (shown.axes && elements.some((e) => e.kind === "centre")) viewer.addSphere({ center: V(at), radius: radius * 0.03, color: "#d1495b" });
}

function control(bar, kind, text, attributes, changed) {
  const label = document.createElement("label"), input = document.createElement(kind);
  Object.assign(input, attributes);
  input.addEventListener("input", () => changed(input));
  if (attributes.type === "checkbox") label.append(input, " " + text);
  else label.append(text + " ", input);
  bar.append(label);
  return input;
}

function structure() {
  const viewer = make("structure"), bar = document.getElementById("structure-bar"), s = scene.structure;
  const shown = { axes: true, planes: s.elements.filter((e) => e.kind === "plane").length <= 3, orbits: true };
  let number = -1, amplitude = 0.3;
  function draw() {
    viewer.stopAnimate();
    viewer.removeAllModels(); viewer.removeAllShapes(); viewer.removeAllLabels();
    const moves = number < 0 ? null : s.distortions[number].vectors;
    const rows = s.atoms.map((a, i) => [...a, ...(moves ? moves[i] : [0, 0, 0])].join(" "));
    viewer.addModel(`${rows.length}\n\n${rows.join("\n")}\n`, "xyz");
    const sticks = s.cell.length ? {} : { stick: { radius: 0.09 } };
    viewer.setStyle({}, { sphere: { scale: 0.28 }, ...sticks });
    if (shown.orbits)
      s.colors.forEach((color, orbit) => {
        const index = s.orbits.flatMap((o, i) => (o === orbit ? [i] : []));
        viewer.setStyle({ index }, { sphere: { scale: 0.28, color }, ...(sticks.stick ? { stick: { radius: 0.09, color } } : {}) });
      });
    for (const [p, q] of s.cell) viewer.addLine({ start: V(p), end: V(q), color: "#999999" });
    drawElements(viewer, s.elements, s.centre, s.radius, shown);
    if (moves) {
      const beside = s.distortions[number].beside;
      s.atoms.forEach((a, i) => {
        if (beside && Math.hypot(...beside[i]) > 0.05)
          viewer.addArrow({ start: V(a.slice(1)), end: V(plus(a.slice(1), beside[i], 4 * amplitude)), radius: 0.09, color: "#888888", opacity: 0.6 });
        const end = plus(a.slice(1), moves[i], 4 * amplitude);
        if (Math.hypot(...moves[i]) > 0.05) viewer.addArrow({ start: V(a.slice(1)), end: V(end), radius: 0.06, color: "#d1495b" });
      });
      viewer.vibrate(12, amplitude, s.distortions[number].both);
      viewer.animate({ loop: "backAndForth", interval: 50, reps: 0 });
    }
    viewer.render();
  }
  const has = (kind) => s.elements.some((e) => e.kind === kind);
  const boxes = [["orbits", "orbits in colours", true], ["axes", "axes", has("axis")], ["planes", "mirror planes", has("plane")]];
  for (const [name, text, there] of boxes)
    if (there) control(bar, "input", text, { type: "checkbox", checked: shown[name], id: "show-" + name }, (box) => { shown[name] = box.checked; draw(); });
  let list = null;
  if (s.distortions.length) {
    list = control(bar, "select", "distortion", { id: "distortion" }, (select) => play(Number(select.value)));
    list.append(new Option("none", -1), ...s.distortions.map((d, i) => new Option(d.label, i)));
    control(bar, "input", "amplitude", { type: "range", min: 0.05, max: 1, step: 0.05, value: amplitude }, (range) => { amplitude = Number(range.value); draw(); });
  }
  function play(which) {
    number = which;
    if (list) list.value = which;
    document.querySelectorAll("[data-distortion]").forEach((row) => row.classList.toggle("chosen", Number(row.dataset.distortion) === which));
    draw();
  }
  if (s.playing !== undefined) play(s.playing); else draw();
  viewer.zoomTo(); viewer.rotate(-75, "x"); viewer.rotate(-20, "y"); viewer.zoom(0.9); viewer.render();
  return { viewer, play };
}

function objects() {
  const viewer = make("objects");
  function show(which) {
    const set = scene.sets[which];
    viewer.removeAllShapes(); viewer.removeAllLabels();
    viewer.addSphere({ center: V([0, 0, 0]), radius: 1, color: "#cccccc", opacity: 0.18 });
    drawElements(viewer, set.elements, [0, 0, 0], 1.05, { axes: true, planes: false }, 0.006);
    for (const o of set.arrows) {
      const style = { radius: o.kind === "lobe" ? 0.06 : 0.04, mid: 0.75, color: o.color };
      viewer.addArrow({ start: V([0, 0, 0]), end: V(o.to), ...style });
      if (o.kind === "axial") disc(viewer, plus([0, 0, 0], o.to, 0.6), o.to, 0.14, o.color);
    }
    const plain = { fontSize: 32, fontColor: "#222222", backgroundColor: "white", backgroundOpacity: 0.7 };
    set.signs.forEach((sign, k) => viewer.addLabel(sign, { position: V([0, 0, 1.2 - 0.5 * k]), ...plain }, undefined, true));
    document.getElementById("objects-text").textContent = set.text;
    document.querySelectorAll("[data-set]").forEach((row) => row.classList.toggle("chosen", Number(row.dataset.set) === which));
    viewer.render();
  }
  show(0);
  viewer.zoomTo(); viewer.zoom(2.1); viewer.rotate(-75, "x"); viewer.rotate(-20, "y"); viewer.render();
  if (scene.spin) viewer.spin("y", 0.4);
  return { viewer, show };
}

// The text is painted first; each viewer is made when it comes into sight.
const makers = { structure, objects }, views = {};
const view = (id) => (views[id] ??= makers[id]());
for (const [name, act] of [["distortion", (n) => view("structure").play(n)], ["set", (n) => view("objects").show(n)]])
  document.querySelectorAll(`tr[data-${name}]`).forEach((row) => {
    row.tabIndex = 0;
    row.addEventListener("click", () => act(Number(row.dataset[name])));
    row.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); act(Number(row.dataset[name])); } });
  });
window.addEventListener("resize", () => Object.values(views).forEach((v) => v.viewer.resize()));
const inSight = new IntersectionObserver((entries) => {
  for (const entry of entries)
    if (entry.isIntersecting) {
      inSight.unobserve(entry.target);
      setTimeout(() => { view(entry.target.id); document.body.dataset.ready = "yes"; });
    }
});
document.querySelectorAll(".view").forEach((element) => inSight.observe(element));
