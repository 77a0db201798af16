// Draws, turns strokes into the 8 x 8 pixels of scikit-learn's digits, and runs both networks with onnxruntime-web.
const NAMES = ["original", "compressed"];
const TURNS = 9, RUNS = 5; // browsers round the clock to 0.1 ms: five runs are timed at once
const PEN = 4; // width of a line in the 32 x 32 bitmap, about that of the pens in the data set
const pad = document.getElementById("pad"), seen = document.getElementById("seen"), result = document.getElementById("result");
let strokes = [], pixels = null, networks = {}, busy = false, waiting = false;

// The data set's own steps (NIST's): the digit fills a bitmap of 32 x 32 from top to bottom and is centred, at the same
// ratio of width to height; the dots that are on are counted in blocks of 4 x 4, so that a pixel is 0 to 16.
function toPixels(strokes) {
  const points = strokes.flat();
  const [left, right] = range(points.map(([x]) => x)), [top, bottom] = range(points.map(([, y]) => y));
  const scale = (32 - PEN) / Math.max(bottom - top, right - left, 1);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 32;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.translate(16, 16);
  context.scale(scale, scale);
  context.translate(-(left + right) / 2, -(top + bottom) / 2);
  draw(context, strokes, PEN / scale, "#000");
  const alpha = context.getImageData(0, 0, 32, 32).data;
  const counts = new Float32Array(64);
  for (let y = 0; y < 32; y++)
    for (let x = 0; x < 32; x++) counts[8 * (y >> 2) + (x >> 2)] += alpha[4 * (32 * y + x) + 3] > 127;
  return counts;
}

function range(values) {
  return [Math.min(...values), Math.max(...values)];
}

function draw(context, strokes, width, color) {
  Object.assign(context, { lineWidth: width, lineCap: "round", lineJoin: "round", strokeStyle: color });
  for (const points of strokes) {
    const [x, y] = points[0];
    context.beginPath();
    context.moveTo(x - 0.01, y); // a line of no length at all would show nothing, and one tap is a dot
    for (const point of points) context.lineTo(...point);
    context.stroke();
  }
}

function paint(canvas, pixels) {
  const context = canvas.getContext("2d"), image = context.createImageData(8, 8);
  const [red, green, blue] = ink().match(/\w\w/g).map((part) => parseInt(part, 16));
  pixels?.forEach((pixel, i) => image.data.set([red, green, blue, (255 * pixel) / 16], 4 * i));
  context.putImageData(image, 0, 0);
}

function ink() {
  return getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();
}

function show() {
  const context = pad.getContext("2d");
  context.clearRect(0, 0, pad.width, pad.height);
  if (strokes.length) draw(context, strokes, pad.width / 12, ink());
  else if (pixels) {
    context.imageSmoothingEnabled = false;
    context.drawImage(seen, pad.width / 8, pad.height / 8, (pad.width * 3) / 4, (pad.height * 3) / 4);
  }
}

async function update(drawn) {
  pixels = drawn;
  paint(seen, pixels);
  show();
  if (!pixels) return clearCards();
  if (busy) return (waiting = true);
  busy = true;
  document.body.dataset.state = "busy";
  try {
    do {
      waiting = false;
      await predict(pixels);
    } while (waiting && pixels);
  } finally {
    busy = false;
    document.body.dataset.state = "ready";
  }
  if (!pixels) clearCards();
}

async function predict(counts) {
  const { mean, std } = networks;
  const input = new ort.Tensor("float32", counts.map((count) => (count / 16 - mean) / std), [1, 1, 8, 8]);
  const times = { original: [], compressed: [] }, guesses = {};
  for (let turn = 0; turn < TURNS; turn++)
    for (const name of NAMES) {
      const started = performance.now();
      for (let run = 0; run < RUNS; run++) guesses[name] = (await networks[name].run({ input })).output.data;
      times[name].push((performance.now() - started) / RUNS);
    }
  const said = NAMES.map((name) => fill(name, guesses[name], median(times[name])));
  const [first, second] = said.map(({ digit, share }) => `${digit} (${percent(share)})`);
  result.textContent =
    said[0].digit === said[1].digit
      ? `Both read a ${said[0].digit}: the original is ${percent(said[0].share)} sure, the compressed one ${percent(said[1].share)}.`
      : `They disagree: the original reads ${first}, the compressed one ${second}.`;
  window.tinyshrink.last = { pixels: [...counts], original: [...guesses.original], compressed: [...guesses.compressed] };
}

function fill(name, logits, ms) {
  const card = document.getElementById(name), highest = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp(logit - highest));
  const total = powers.reduce((sum, power) => sum + power);
  const shares = powers.map((power) => power / total), digit = shares.indexOf(Math.max(...shares));
  card.classList.remove("waiting");
  card.querySelector(".digit").textContent = digit;
  card.querySelectorAll(".bars li").forEach((row, i) => bar(row, shares[i]));
  card.querySelector(".ms").textContent = ms.toFixed(2);
  return { digit, share: shares[digit] };
}

function bar(row, share) {
  row.querySelector("i").style.setProperty("--share", share === null ? "0%" : `${100 * share}%`);
  row.lastElementChild.textContent = share === null ? "" : percent(share);
  row.lastElementChild.classList.toggle("none", share < 0.005);
}

function clearCards() {
  for (const card of NAMES.map((name) => document.getElementById(name))) {
    card.classList.add("waiting");
    card.querySelector(".digit").textContent = card.querySelector(".ms").textContent = "–";
    card.querySelectorAll(".bars li").forEach((row) => bar(row, null));
  }
  result.textContent = "Draw a digit, or choose a sample.";
}

function percent(share) {
  return share > 0.99 && share < 0.9999 ? ">99%" : `${Math.round(100 * share)}%`;
}

function median(values) {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}

function position(event) {
  const box = pad.getBoundingClientRect();
  return [((event.clientX - box.left) * pad.width) / box.width, ((event.clientY - box.top) * pad.height) / box.height];
}

function listen() {
  let drawing = false;
  pad.addEventListener("pointerdown", (event) => {
    drawing = true;
    pad.setPointerCapture(event.pointerId);
    strokes.push([position(event)]);
    update(toPixels(strokes));
  });
  pad.addEventListener("pointermove", (event) => {
    if (!drawing) return;
    const events = event.getCoalescedEvents?.() ?? [];
    strokes.at(-1).push(...(events.length ? events : [event]).map(position));
    update(toPixels(strokes));
  });
  for (const end of ["pointerup", "pointercancel"]) pad.addEventListener(end, () => (drawing = false));
  document.getElementById("clear").addEventListener("click", () => choose(null));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
}

function choose(sample) {
  strokes = [];
  update(sample && Float32Array.from(sample));
}

function repaint() {
  paint(seen, pixels);
  show();
  document.querySelectorAll("#samples button").forEach((button, i) => paint(button.firstChild, networks.samples[i].pixels));
}

function addSamples(samples) {
  for (const { label, pixels } of samples) {
    const button = document.createElement("button"), canvas = document.createElement("canvas");
    canvas.width = canvas.height = 8;
    button.type = "button";
    button.setAttribute("aria-label", `Sample digit ${label}`);
    button.append(canvas);
    button.addEventListener("click", () => choose(pixels));
    document.getElementById("samples").append(button);
  }
  repaint();
}

function addCard(name, bytes, accuracy) {
  const card = document.getElementById(name);
  card.append(document.getElementById("card").content.cloneNode(true));
  for (let digit = 0; digit < 10; digit++) {
    const row = document.createElement("li");
    row.innerHTML = `<span>${digit}</span><i></i><span></span>`;
    card.querySelector(".bars").append(row);
  }
  card.querySelector(".bytes").textContent = bytes.toLocaleString("en");
  card.querySelector(".accuracy").textContent = `${(100 * accuracy).toFixed(1)}%`;
}

async function load(file) {
  const answer = await fetch(file);
  if (!answer.ok) throw new Error(`${file}: ${answer.status} ${answer.statusText}`);
  return answer;
}

async function start() {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = new URL(".", location.href).href;
  const bytes = [];
  networks = await (await load("digits.json")).json();
  for (const name of NAMES) {
    const file = new Uint8Array(await (await load(`${name}.onnx`)).arrayBuffer());
    networks[name] = await ort.InferenceSession.create(file, { executionProviders: ["wasm"] });
    addCard(name, file.byteLength, networks.accuracy[name]);
    bytes.push(file.byteLength);
  }
  const times = (bytes[0] / bytes[1]).toFixed(1);
  document.getElementById("saving").textContent = `The compressed file is ${times} times smaller.`;
  addSamples(networks.samples);
  listen();
  clearCards();
  document.body.dataset.state = "ready";
}

window.tinyshrink = { toPixels }; // for tests, and for those who look under the bonnet
start().catch((error) => {
  result.textContent = `The networks cannot be loaded (${error.message}). Serve this folder over http: tinyshrink page --serve`;
  throw error;
});
