// Copyright (c) the sgpose authors. Licensed under Apache-2.0.
const el = (id) => document.getElementById(id);
const canvas = el("picture");
const pen = canvas.getContext("2d");

let file = null; // what is sent: a File or Blob
let picture = null; // its ImageBitmap, upright
let answer = null; // of POST /pose
let overlay = null; // number of the guide laid over the picture
let drag = null; // box being drawn

const hue = (index, count) => `hsl(${Math.round((360 * index) / count)} 90% 55%)`;

function say(text, isError = false) {
  el("status").textContent = text;
  el("status").classList.toggle("error", isError);
}

function boxes() {
  return el("boxes").value.split(";").filter((text) => text.trim())
    .map((text) => text.split(",").map(Number));
}

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

// Small pictures are drawn larger, so that lines are finer than their pixels.
const scale = () => Math.max(1, 800 / Math.max(picture.width, picture.height));

function drawBox([x1, y1, x2, y2]) {
  pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
}

function drawPose(person) {
  const threshold = Number(el("threshold").value);
  const seen = person.keypoint_scores.map((score) => score >= threshold);
  const links = answer.skeleton_links;
  links.forEach(([a, b], i) => {
    if (!seen[a] || !seen[b]) return;
    pen.strokeStyle = hue(i, links.length);
    pen.beginPath();
    pen.moveTo(...person.keypoints[a]);
    pen.lineTo(...person.keypoints[b]);
    pen.stroke();
  });
  person.keypoints.forEach(([x, y], k) => {
    if (!seen[k]) return;
    pen.fillStyle = "white";
    pen.strokeStyle = "black";
    pen.beginPath();
    pen.arc(x, y, 1.2 * pen.lineWidth, 0, 2 * Math.PI);
    pen.fill();
    pen.stroke();
  });
}

function draw() {
  if (!picture) return;
  pen.setTransform(scale(), 0, 0, scale(), 0, 0); // all places are in pixels of the picture
  pen.drawImage(picture, 0, 0);
  const persons = answer ? answer.predictions : [];
  for (const person of overlay === null ? [] : persons) {
    const [x1, y1, x2, y2] = person.attention.bbox;
    pen.globalAlpha = 0.6;
    pen.drawImage(heat(person.attention.maps[overlay]), x1, y1, x2 - x1, y2 - y1);
    pen.globalAlpha = 1;
  }
  pen.lineWidth = Math.max(picture.width, picture.height) / 200;
  persons.forEach(drawPose);
  pen.lineWidth /= 2;
  pen.strokeStyle = "#2a78d6";
  boxes().forEach(drawBox);
  if (drag) drawBox(drag);
}

function forget() {
  answer = null;
  overlay = null;
  el("result").hidden = true;
}

async function take(blob) {
  stopWebcam();
  forget();
  el("boxes").value = "";
  try {
    picture = await createImageBitmap(blob);
  } catch {
    picture = file = null;
    el("run").disabled = true;
    el("stage").classList.add("empty");
    say("The file is not a picture that this browser can show: send a JPEG or PNG", true);
    return;
  }
  file = blob;
  canvas.width = picture.width * scale();
  canvas.height = picture.height * scale();
  el("stage").classList.remove("empty");
  el("run").disabled = false;
  say(`${picture.width}x${picture.height} pixels`);
  draw();
}

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

async function run() {
  const sent = file;
  forget();
  draw();
  el("run").disabled = true;
  el("progress").hidden = false;
  const question = new URLSearchParams({ model: el("model").value, boxes: el("boxes").value });
  try {
    const found = await send(`pose?${question}`, sent, (part) => {
      if (part < 1) {
        el("progress").value = part;
        say(`Sending, ${Math.round(100 * part)} %`);
      } else {
        el("progress").removeAttribute("value"); // moves until the answer is there
        say("Finding poses");
      }
    });
    if (sent === file) show(found);
  } catch (error) {
    if (sent === file) say(error.message, true);
  }
  el("progress").hidden = true;
  el("run").disabled = !file;
}

function show(found) {
  answer = found;
  const persons = answer.predictions;
  say(`${persons.length} ${persons.length > 1 ? "poses" : "pose"} by ${answer.model} in ${answer.seconds} s`);
  el("person").replaceChildren(...persons.map((_, i) => new Option(String(i + 1), i)));
  URL.revokeObjectURL(el("download").href);
  const text = JSON.stringify(answer, null, 1);
  el("download").href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  el("attention").hidden = !persons[0].attention;
  el("result").hidden = false;
  showPerson();
  draw();
}

function showPerson() {
  const person = answer.predictions[el("person").value];
  el("scores").replaceChildren(...person.keypoints.map(([x, y], k) => {
    const row = document.createElement("tr");
    const score = person.keypoint_scores[k];
    for (const text of [answer.keypoint_names[k], x.toFixed(1), y.toFixed(1), `${score.toFixed(2)} `]) {
      row.insertCell().textContent = text;
    }
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
}

function place(event) {
  const shown = canvas.getBoundingClientRect();
  const at = (value, start, length, pixels) =>
    Math.round(Math.min(1, Math.max(0, (value - start) / length)) * pixels);
  return [at(event.clientX, shown.left, shown.width, picture.width),
    at(event.clientY, shown.top, shown.height, picture.height)];
}

let start = null;
canvas.onpointerdown = (event) => {
  if (!picture) return;
  canvas.setPointerCapture(event.pointerId);
  start = place(event);
};
canvas.onpointermove = (event) => {
  if (!start) return;
  const end = place(event);
  drag = [0, 1].map((i) => Math.min(start[i], end[i]))
    .concat([0, 1].map((i) => Math.max(start[i], end[i])));
  draw();
};
canvas.onpointerup = () => {
  if (drag && drag[2] > drag[0] && drag[3] > drag[1]) {
    el("boxes").value = [el("boxes").value.trim(), drag.join(", ")].filter(Boolean).join("; ");
  }
  start = drag = null;
  draw();
};

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
    say(`The webcam cannot be used (${error.message})`, true);
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
el("run").onclick = run;
el("clear").onclick = () => { el("boxes").value = ""; draw(); };
el("boxes").oninput = draw;
el("person").onchange = showPerson;
el("threshold").oninput = () => { el("shown").textContent = Number(el("threshold").value).toFixed(2); draw(); };

const { models } = await (await fetch("models")).json();
el("model").replaceChildren(...models.map((name) => new Option(name)));
