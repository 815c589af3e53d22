// Copyright (c) the sgpose authors. Licensed under Apache-2.0.
// node run.mjs pose.onnx picture.jpg [x1,y1,x2,y2]... [--out drawn.png]
import { readFile } from "node:fs/promises";
import * as ort from "onnxruntime-node";
import sharp from "sharp";
import { drawing, findPoses } from "./pose.mjs";

const words = process.argv.slice(2);
const flag = words.indexOf("--out");
const out = flag < 0 ? null : words.splice(flag, 2)[1];
const [model, picture, ...texts] = words;
if (!picture) {
  console.error("node run.mjs pose.onnx picture.jpg [x1,y1,x2,y2]... [--out drawn.png]");
  process.exit(2);
}

const spec = JSON.parse(await readFile(model.replace(/\.onnx$/, ".json"), "utf8"));
const session = await ort.InferenceSession.create(model);
// OpenCV ignores colour profiles, and so did the training
const upright = sharp(picture, { ignoreIcc: true }).rotate().toColourspace("srgb").removeAlpha();
const { data, info } = await upright.raw().toBuffer({ resolveWithObject: true });
const boxes = texts.map((text) => text.split(",").map(Number));
const poses = await findPoses(ort, session, spec, { ...info, data }, boxes);
console.log(JSON.stringify(poses));

if (out) {
  const width = Math.max(info.width, info.height) / 200;
  const { lines, dots } = drawing(poses, spec);
  const shapes = [
    ...lines.map(({ from, to, colour }) =>
      `<line x1="${from[0]}" y1="${from[1]}" x2="${to[0]}" y2="${to[1]}" stroke="${colour}" stroke-width="${width}"/>`),
    ...dots.map(({ at, colour }) => `<circle cx="${at[0]}" cy="${at[1]}" r="${width}" fill="${colour}"/>`),
  ];
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${info.width}" height="${info.height}">${shapes.join("")}</svg>`;
  await sharp(data, { raw: info }).composite([{ input: Buffer.from(svg) }]).toFile(out);
}
