"use strict";
// Images dropped, pasted, chosen or photographed are sent to this server, and what it says of them is shown.

const byId = (id) => document.getElementById(id);
const results = byId("results");
let preprocessing = null;

function headers() {
  const token = sessionStorage.getItem("token");
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function ask(address, options = {}) {
  const response = await fetch(address, { ...options, headers: headers() });
  const body = await response.json();
  if (response.status === 401) byId("access").hidden = false;
  if (!response.ok) throw new Error(body.error.message);
  return body;
}

function show(problem) {
  byId("problem").textContent = problem;
  byId("problem").hidden = !problem;
}

async function introduce() {
  try {
    const model = await ask("/v1/model");
    const scores = model.metrics[model.metrics.headline];
    const [low, high] = scores.accuracy_interval;
    const percent = (share) => `${(100 * share).toFixed(1)} %`;
    byId("model").textContent = model.name;
    byId("about").textContent =
      `${model.classes.length} classes. Accuracy ${percent(scores.accuracy)} ` +
      `(95 % interval ${percent(low)} to ${percent(high)}) on ${scores.n} images.`;
    preprocessing = model.preprocessing;
    byId("access").hidden = true;
    show("");
  } catch (error) {
    show(error.message);
  }
}

// The part of the picture that the network saw: its central square, as the server cuts it.
function placeMap(picture, image, canvas) {
  const kept = preprocessing.crop_px / preprocessing.resize_px;
  const scale = Math.min(image.clientWidth / image.naturalWidth, image.clientHeight / image.naturalHeight);
  const side = Math.min(image.naturalWidth, image.naturalHeight) * scale * kept;
  canvas.style.width = canvas.style.height = `${side}px`;
  canvas.style.left = `${(image.clientWidth - side) / 2}px`;
  canvas.style.top = `${(image.clientHeight - side) / 2}px`;
}

function drawMap(canvas, rows) {
  const height = rows.length;
  const width = rows[0].length;
  const small = document.createElement("canvas");
  small.width = width;
  small.height = height;
  const most = Math.max(...rows.flat(), 1e-9);
  const context = small.getContext("2d");
  const pixels = context.createImageData(width, height);
  rows.flat().forEach((value, k) => {
    const heat = Math.max(0, value) / most; // what speaks against the class stays clear
    pixels.data.set([255, Math.round(230 * heat), Math.round(60 * (1 - heat)), Math.round(255 * heat)], 4 * k);
  });
  context.putImageData(pixels, 0, 0);
  canvas.width = canvas.height = 224;
  const drawn = canvas.getContext("2d");
  drawn.imageSmoothingQuality = "high";
  drawn.drawImage(small, 0, 0, canvas.width, canvas.height);
}

function addBars(list, classes) {
  for (const { name, probability } of classes) {
    const term = document.createElement("dt");
    term.textContent = name;
    const bar = document.createElement("dd");
    const meter = document.createElement("meter");
    meter.value = probability;
    meter.setAttribute("aria-label", name);
    bar.append(meter);
    const share = document.createElement("dd");
    share.className = "share";
    share.textContent = `${(100 * probability).toFixed(1)} %`;
    list.append(term, bar, share);
  }
}

function addResult(file, answer) {
  const item = byId("result").content.cloneNode(true).firstElementChild;
  const image = item.querySelector("img");
  const canvas = item.querySelector("canvas");
  image.src = URL.createObjectURL(file);
  image.alt = answer.name;
  item.querySelector("figcaption").textContent = answer.name;
  const title = item.querySelector("h2");
  if (answer.error) {
    title.textContent = `Can't be read: ${answer.error}`;
    title.className = "error";
  } else {
    const isUnknown = answer.predicted !== answer.top[0].name;
    title.textContent = isUnknown ? "Unknown: none of the classes is probable enough" : answer.predicted;
    title.classList.toggle("unknown", isUnknown);
    addBars(item.querySelector("dl"), answer.top);
  }
  if (answer.map) {
    const toggle = item.querySelector(".toggle");
    toggle.hidden = false;
    drawMap(canvas, answer.map.rows);
    toggle.querySelector("input").addEventListener("change", (event) => {
      canvas.hidden = !event.target.checked;
      placeMap(item, image, canvas);
    });
    window.addEventListener("resize", () => placeMap(item, image, canvas));
  }
  results.prepend(item);
}

async function predict(files) {
  const images = [...files].filter((file) => file.type.startsWith("image/") || file.type === "");
  if (!images.length) return;
  show("");
  for (const file of images) {
    const form = new FormData();
    form.append("images", file, file.name || "pasted");
    try {
      const answer = await ask("/v1/predict?top=5&map=true", { method: "POST", body: form });
      addResult(file, answer.predictions[0]);
    } catch (error) {
      show(error.message);
    }
  }
}

const drop = byId("drop");
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
}
for (const kind of ["dragleave", "drop"]) {
  document.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.remove("over"); });
}
document.addEventListener("drop", (event) => predict(event.dataTransfer.files));
document.addEventListener("paste", (event) => predict(event.clipboardData.files));
for (const id of ["files", "photo"]) {
  byId(id).addEventListener("change", (event) => { predict(event.target.files); event.target.value = ""; });
}
byId("access").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", byId("token").value);
  introduce();
});
introduce();
