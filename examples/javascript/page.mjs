// Copyright (c) the sgpose authors. Licensed under Apache-2.0.
import * as ort from "./node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs";
import { drawing, findPoses } from "./pose.mjs";

const el = (id) => document.getElementById(id);

async function run() {
  const files = [...el("files").files];
  const model = files.find((file) => file.name.endsWith(".onnx"));
  const description = files.find((file) => file.name.endsWith(".json"));
  const [picture] = el("picture").files;
  if (!model || !description || !picture) {
    el("status").textContent = "Choose pose.onnx together with pose.json, and a picture";
    return;
  }
  el("status").textContent = "Finding poses";
  const spec = JSON.parse(await description.text());
  const session = await ort.InferenceSession.create(await model.arrayBuffer());
  // OpenCV ignores colour profiles, and so did the training
  const bitmap = await createImageBitmap(picture, { colorSpaceConversion: "none" });
  const canvas = el("canvas"), pen = canvas.getContext("2d");
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  pen.drawImage(bitmap, 0, 0);
  const { data, width, height } = pen.getImageData(0, 0, bitmap.width, bitmap.height);
  const boxes = el("boxes").value.split(";").filter((text) => text.trim())
    .map((text) => text.split(",").map(Number));
  const poses = await findPoses(ort, session, spec, { data, width, height, channels: 4 }, boxes);

  const { lines, dots } = drawing(poses, spec);
  pen.lineWidth = Math.max(width, height) / 200;
  for (const { from, to, colour } of lines) {
    pen.strokeStyle = colour;
    pen.beginPath();
    pen.moveTo(...from);
    pen.lineTo(...to);
    pen.stroke();
  }
  for (const { at, colour } of dots) {
    pen.fillStyle = colour;
    pen.beginPath();
    pen.arc(...at, pen.lineWidth, 0, 2 * Math.PI);
    pen.fill();
  }
  el("result").textContent = JSON.stringify(poses);
  el("status").textContent = `${poses.length} found`;
}

el("run").onclick = () => run().catch((error) => { el("status").textContent = error.message; });
