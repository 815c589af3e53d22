// Copyright (c) the sgpose authors. Licensed under Apache-2.0.
const el = (id) => document.getElementById(id);
const canvas = el("picture");
const pen = canvas.getContext("2d");
const BLUE = "#2a78d6", GRIP = 8; // pixels on the screen around a corner that take hold of it
const ADVICE = el("status").textContent;
const UNBOXED = "No box was drawn: the whole photo was taken as one person. Where there are several people, or one in a part of it, draw a box round each whole person.";

let file = null; // what is sent: a File or Blob
let picture = null; // its ImageBitmap, upright
let answer = null; // of POST /pose
let overlay = null; // number of the guide laid over the picture
let about = { max_bytes: Infinity, max_pixels: Infinity, titles: [] }; // of GET /models
const told = fetch("models").then((answer) => answer.json());

const rgb = (colour) => `rgb(${colour.join(",")})`;

function say(text, kind = "") {
  el("status").textContent = text;
  el("status").className = kind;
}

// Boxes: the text is their only place

function boxes() {
  return el("boxes").value.split(";").filter((text) => text.trim())
    .map((text) => text.split(",").map(Number));
}

function setBoxes(list) {
  el("boxes").value = list.map((box) => box.map((v) => Math.round(v * 10) / 10).join(", ")).join("; ");
}

const inside = ([x1, y1, x2, y2], [x, y]) => x > x1 && x < x2 && y > y1 && y < y2;

// Drawing

function heat(map) {
  // From black over red to yellow, and as opaque as the map is high.
  const height = map.length, width = map[0].length;
  const image = new ImageData(width, height);
  map.flat().forEach((value, i) => {
    const colour = [0, 1, 2].map((c) => 255 * Math.min(1, Math.max(0, 2 * value - c)));
    image.data.set([...colour, 255 * value], 4 * i);
  });
  const small = new OffscreenCanvas(width, height);
  small.getContext("2d").putImageData(image, 0, 0);
  return small;
}

// Small pictures are drawn larger, so that lines are finer than their pixels; huge ones smaller.
const scale = () => Math.min(4096, Math.max(800, picture.width, picture.height)) / Math.max(picture.width, picture.height);

function drawPose(person, chosen) {
  const threshold = Number(el("threshold").value);
  const seen = person.keypoint_scores.map((score) => score >= threshold);
  pen.globalAlpha = chosen ? 1 : 0.55;
  answer.skeleton_links.forEach(([a, b], i) => {
    if (!seen[a] || !seen[b]) return;
    pen.strokeStyle = rgb(answer.skeleton_colors[i]);
    pen.beginPath();
    pen.moveTo(...person.keypoints[a]);
    pen.lineTo(...person.keypoints[b]);
    pen.stroke();
  });
  const width = pen.lineWidth;
  person.keypoints.forEach(([x, y], k) => {
    if (!seen[k]) return;
    pen.fillStyle = rgb(answer.keypoint_colors[k]);
    pen.strokeStyle = "white";
    pen.lineWidth = width / 3;
    pen.beginPath();
    pen.arc(x, y, width, 0, 2 * Math.PI);
    pen.fill();
    pen.stroke();
  });
  pen.lineWidth = width;
  pen.globalAlpha = 1;
}

function drawBox([x1, y1, x2, y2], label, strong) {
  const unit = Math.max(picture.width, picture.height) / 400;
  pen.strokeStyle = BLUE;
  pen.lineWidth = strong ? 1.6 * unit : unit;
  pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
  if (!label) return;
  pen.font = `600 ${11 * unit}px system-ui, sans-serif`;
  const width = pen.measureText(label).width + 6 * unit;
  pen.fillStyle = BLUE;
  pen.fillRect(x1, Math.max(0, y1 - 14 * unit), width, 14 * unit);
  pen.fillStyle = "white";
  pen.fillText(label, x1 + 3 * unit, Math.max(0, y1 - 14 * unit) + 11 * unit);
}

function draw() {
  if (!picture) return;
  pen.setTransform(scale(), 0, 0, scale(), 0, 0); // all places are in pixels of the picture
  pen.drawImage(picture, 0, 0);
  const persons = answer ? answer.predictions : [];
  const chosen = Number(el("person").value);
  for (const person of overlay === null ? [] : persons) {
    const [x1, y1, x2, y2] = person.attention.bbox;
    pen.globalAlpha = 0.6;
    pen.drawImage(heat(person.attention.maps[overlay]), x1, y1, x2 - x1, y2 - y1);
    pen.globalAlpha = 1;
  }
  pen.lineCap = "round";
  persons.forEach((person, i) => {
    pen.lineWidth = Math.max(picture.width, picture.height) / (i === chosen ? 160 : 220);
    drawPose(person, i === chosen || persons.length === 1);
  });
  pen.lineCap = "butt";
  const all = boxes();
  all.forEach((box, i) => drawBox(box, all.length > 1 ? String(i + 1) : "", Boolean(answer) && i === chosen));
  if (hold?.fresh) drawBox(hold.box);
}

// The photo

function forget() {
  answer = null;
  overlay = null;
  el("result").hidden = true;
}

function clear() {
  stopWebcam();
  forget();
  picture = file = hold = null;
  el("boxes").value = el("file").value = "";
  el("run").disabled = el("people").disabled = true;
  el("credit").hidden = true;
  el("stage").classList.add("empty");
  say(ADVICE);
}

function toPng(bitmap) { // of what the server does not read, such as WebP
  const copy = new OffscreenCanvas(bitmap.width, bitmap.height);
  copy.getContext("2d").drawImage(bitmap, 0, 0);
  return copy.convertToBlob({ type: "image/png" });
}

async function take(blob) {
  clear();
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob);
  } catch {
    say("The file is not a picture that this browser can show: send a JPEG or PNG", "error");
    return;
  }
  about = await told; // a photo may be chosen before the server has answered
  if (bitmap.width * bitmap.height > about.max_pixels) {
    say(`The picture is ${bitmap.width}x${bitmap.height}, more than ${about.max_pixels / 1e6} million pixels: send a smaller one`, "error");
    return;
  }
  const sent = ["image/jpeg", "image/png"].includes(blob.type) ? blob : await toPng(bitmap);
  if (sent.size > about.max_bytes) {
    say(`The file is larger than ${about.max_bytes / 2 ** 20} MiB: send a smaller picture`, "error");
    return;
  }
  [file, picture] = [sent, bitmap];
  canvas.width = Math.max(1, Math.round(picture.width * scale()));
  canvas.height = Math.max(1, Math.round(picture.height * scale()));
  el("stage").classList.remove("empty");
  el("run").disabled = el("people").disabled = false;
  say(`${picture.width}x${picture.height} pixels. ${ADVICE}`);
  draw();
  if (about.detector) await findPeople();
}

// The server

function send(url, blob, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", url);
    request.setRequestHeader("Content-Type", blob.type.startsWith("image/") ? blob.type : "image/*");
    request.upload.onprogress = (event) => onProgress(event.loaded / event.total);
    request.onerror = () => reject(new Error("the page's server does not answer: is it still running?"));
    request.onload = () => {
      let content;
      try { content = JSON.parse(request.response); } catch { content = {}; }
      if (request.status === 200) resolve(content);
      else reject(new Error(content.error ?? `the server failed (${request.status}), see its terminal`));
    };
    request.send(blob);
  });
}

async function ask(url, doing, use) {
  const sent = file;
  el("run").disabled = el("people").disabled = true;
  el("progress").hidden = false;
  try {
    const found = await send(url, sent, (part) => {
      if (part < 1) {
        el("progress").value = part;
        say(`Sending, ${Math.round(100 * part)} %`);
      } else {
        el("progress").removeAttribute("value"); // moves until the answer is there
        say(doing);
      }
    });
    if (sent === file) use(found);
  } catch (error) {
    if (sent === file) say(error.message, "error");
  }
  el("progress").hidden = true;
  el("run").disabled = el("people").disabled = !file;
}

function run() {
  if (!file) return;
  forget();
  draw();
  const question = new URLSearchParams({ model: el("model").value, boxes: el("boxes").value });
  ask(`pose?${question}`, "Finding poses", show);
}

function findPeople() {
  forget();
  return ask("people", "Finding people", (found) => {
    setBoxes(found.boxes);
    const count = found.boxes.length;
    say(count ? `${count} ${count > 1 ? "people" : "person"} found: move the boxes, drag their corners, double-click one to remove it`
      : "No people were found: draw a box round each whole person");
    draw();
  });
}

function show(found) {
  answer = found;
  const persons = answer.predictions;
  if (boxes().length) say(`${persons.length} ${persons.length > 1 ? "poses" : "pose"} by ${answer.model} in ${answer.seconds} s`);
  else say(UNBOXED, "warning");
  el("person").replaceChildren(...persons.map((_, i) => new Option(String(i + 1), i)));
  el("person").parentElement.hidden = persons.length < 2;
  URL.revokeObjectURL(el("download").href);
  const text = JSON.stringify(answer, null, 1);
  el("download").href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  el("attention").hidden = !persons[0].attention;
  showLegend();
  el("result").hidden = false;
  showPerson();
}

function dot(colour) {
  const mark = document.createElement("i");
  mark.style.background = rgb(colour);
  return mark;
}

function showLegend() {
  const sides = ["left", "right"].map((side) => {
    const word = new RegExp(`(^|[^a-z])${side[0]}(${side.slice(1)})?([^a-z]|$)`, "i");
    return [side, answer.keypoint_colors[answer.keypoint_names.findIndex((name) => word.test(name))]];
  });
  el("legend").replaceChildren(...sides.filter(([, colour]) => colour).map(([side, colour]) => {
    const entry = document.createElement("span");
    entry.append(dot(colour), side);
    return entry;
  }));
}

function showPerson() {
  const person = answer.predictions[el("person").value];
  el("scores").replaceChildren(...person.keypoints.map(([x, y], k) => {
    const row = document.createElement("tr");
    const score = person.keypoint_scores[k];
    row.classList.toggle("faint", score < Number(el("threshold").value));
    const name = answer.keypoint_names[k].replaceAll("_", " ");
    for (const text of [name, x.toFixed(1), y.toFixed(1), `${score.toFixed(2)} `]) {
      row.insertCell().textContent = text;
    }
    row.firstChild.prepend(dot(answer.keypoint_colors[k]));
    const meter = document.createElement("meter");
    meter.value = score;
    row.lastChild.append(meter);
    return row;
  }));
  const maps = person.attention ? person.attention.maps : [];
  el("maps").replaceChildren(...maps.map((map, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = `guide ${i + 1}`;
    button.setAttribute("aria-label", button.title);
    button.setAttribute("aria-pressed", overlay === i);
    const thumb = document.createElement("canvas");
    thumb.width = map[0].length;
    thumb.height = map.length;
    thumb.getContext("2d").drawImage(heat(map), 0, 0);
    button.append(thumb);
    button.onclick = () => {
      overlay = overlay === i ? null : i;
      [...el("maps").children].forEach((other, j) => other.setAttribute("aria-pressed", overlay === j));
      draw();
    };
    return button;
  }));
  draw();
}

// Boxes by hand: drag a corner, drag inside to move, drag elsewhere for a new one

function place(event) {
  const shown = canvas.getBoundingClientRect();
  const at = (value, start, length, pixels) =>
    Math.round(Math.min(1, Math.max(0, (value - start) / length)) * pixels);
  return [at(event.clientX, shown.left, shown.width, picture.width),
    at(event.clientY, shown.top, shown.height, picture.height)];
}

let hold = null; // what is dragged: {start, box, index, corner | fresh, moved}

function grip(at) {
  const near = (GRIP * picture.width) / canvas.getBoundingClientRect().width;
  const all = boxes();
  for (let index = all.length - 1; index >= 0; index--) {
    const [x1, y1, x2, y2] = all[index];
    const corner = [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]
      .findIndex(([x, y]) => Math.hypot(x - at[0], y - at[1]) < near);
    if (corner >= 0) return { index, box: all[index], corner };
  }
  const within = all.map((box, index) => ({ index, box })).filter(({ box }) => inside(box, at));
  const area = ([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1);
  return within.sort((a, b) => area(a.box) - area(b.box))[0] ?? { fresh: true };
}

const between = (a, b) => [0, 1].map((i) => Math.min(a[i], b[i])).concat([0, 1].map((i) => Math.max(a[i], b[i])));

canvas.onpointerdown = (event) => {
  if (!picture || !event.isPrimary) return;
  canvas.setPointerCapture(event.pointerId);
  const start = place(event);
  hold = { start, ...grip(start), moved: false };
  if (hold.fresh) hold.box = null;
};
canvas.onpointermove = (event) => {
  if (!picture) return;
  const at = place(event);
  if (!hold) {
    const found = grip(at);
    canvas.style.cursor = found.fresh ? "crosshair" : found.corner === undefined ? "move"
      : found.corner % 2 ? "nesw-resize" : "nwse-resize";
    return;
  }
  const { box, start, index, corner } = hold;
  if (hold.fresh) hold.box = between(start, at);
  else {
    let changed;
    if (corner === undefined) {
      const limit = [picture.width, picture.height];
      const by = [0, 1].map((i) => Math.min(limit[i] - box[i + 2], Math.max(-box[i], at[i] - start[i])));
      changed = box.map((value, i) => value + by[i % 2]);
    } else changed = between([box[corner === 0 || corner === 3 ? 2 : 0], box[corner < 2 ? 3 : 1]], at);
    if (Math.hypot(at[0] - start[0], at[1] - start[1]) > 1) {
      if (!hold.moved) forget(); // the poses were of another box
      hold.moved = true;
      setBoxes(boxes().map((other, i) => (i === index ? changed : other)));
    }
  }
  draw();
};
canvas.onpointerup = () => {
  if (!hold) return;
  const { fresh, box, index, moved } = hold;
  hold = null;
  if (fresh && box && box[2] > box[0] && box[3] > box[1]) {
    if (answer) forget();
    setBoxes([...boxes(), box]);
  } else if (!fresh && !moved && answer && index < answer.predictions.length) {
    el("person").value = index; // a click chooses the person
    showPerson();
  }
  draw();
};
canvas.onpointercancel = () => { hold = null; draw(); };
canvas.ondblclick = (event) => {
  if (!picture) return;
  const { index } = grip(place(event));
  if (index === undefined) return;
  forget();
  setBoxes(boxes().filter((_, i) => i !== index));
  draw();
};

// The webcam

let stream = null;
function stopWebcam() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  el("video").hidden = el("shoot").hidden = true;
  canvas.hidden = false;
}
async function startWebcam() {
  if (stream) return;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: true });
  } catch (error) {
    say(`The webcam cannot be used (${error.message})`, "error");
    return;
  }
  el("video").srcObject = stream;
  el("video").onplaying = () => { el("shoot").hidden = false; };
  el("video").hidden = false;
  canvas.hidden = true;
  el("stage").classList.remove("empty");
}
function shoot() {
  const video = el("video");
  const frame = document.createElement("canvas");
  frame.width = video.videoWidth;
  frame.height = video.videoHeight;
  frame.getContext("2d").drawImage(video, 0, 0);
  frame.toBlob(take, "image/jpeg", 0.95);
}

const stage = el("stage");
stage.ondragover = (event) => { event.preventDefault(); stage.classList.add("over"); };
stage.ondragleave = () => stage.classList.remove("over");
stage.ondrop = (event) => {
  event.preventDefault();
  stage.classList.remove("over");
  if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
};
el("file").onchange = () => el("file").files.length && take(el("file").files[0]);
el("webcam").onclick = startWebcam;
el("shoot").onclick = shoot;
el("example").onclick = async () => {
  await take(await (await fetch("example.jpg")).blob());
  el("credit").hidden = false;
  if (!about.detector) el("boxes").value = "281, 45, 500, 392"; // round the whole skier
  draw();
};
el("run").onclick = run;
el("people").onclick = findPeople;
el("clear").onclick = clear;
el("boxes").oninput = () => { forget(); draw(); };
el("boxes").onkeydown = (event) => { if (event.key === "Enter") run(); };
el("person").onchange = showPerson;
el("model").onchange = () => { forget(); draw(); };
el("threshold").oninput = () => {
  el("shown").textContent = Number(el("threshold").value).toFixed(2);
  showPerson();
};

about = await told;
el("model").replaceChildren(...about.models.map((name, i) => new Option(about.titles[i] || name, name)));
el("people").hidden = !about.detector;
el("example").hidden = !about.example;
