// Copyright (c) the sgpose authors. Licensed under Apache-2.0.
// From a picture and boxes to keypoints with ONNX Runtime, in a page or in Node. The graph in
// pose.onnx does the rest: colours, network, flip test, decoding. What it needs is in pose.json.

/**
 * Crop a person as OpenCV's warpAffine does, which rounds places to 1/32 pixel.
 * @param {{width: number, height: number, channels: number, data: Uint8Array}} image in RGB or RGBA
 * @param {number[]} box left, top, right, bottom
 * @param {object} spec pose.json
 * @returns {{pixels: Uint8Array, origin: number[], size: number[]}} (h, w, 3) in BGR, and where it lies
 */
export function cropPerson(image, [left, top, right, bottom], spec) {
  const [w, h] = spec.input_size;
  const width = spec.padding * Math.max(right - left, ((bottom - top) * w) / h);
  const size = [width, (width * h) / w];
  const origin = [(left + right - size[0]) / 2, (top + bottom - size[1]) / 2];
  const step = size.map((length, axis) => length / (spec.input_size[axis] - spec.use_udp));
  // places in 1/1024 pixels, then in 1/32
  const places = (count, axis) => Int32Array.from({ length: count }, (_, i) =>
    (Math.round(origin[axis] * 1024) + 16 + Math.round(i * step[axis] * 1024)) >> 5);
  const xs = places(w, 0), ys = places(h, 1);
  const pixels = new Uint8Array(w * h * 3);
  const at = (x, y, channel) => x < 0 || y < 0 || x >= image.width || y >= image.height
    ? 0 : image.data[(y * image.width + x) * image.channels + channel];
  for (let v = 0; v < h; v++) {
    const y = ys[v] >> 5, fy = ys[v] & 31;
    for (let u = 0; u < w; u++) {
      const x = xs[u] >> 5, fx = xs[u] & 31;
      for (let channel = 0; channel < 3; channel++) {
        const sum = (32 - fy) * ((32 - fx) * at(x, y, channel) + fx * at(x + 1, y, channel))
          + fy * ((32 - fx) * at(x, y + 1, channel) + fx * at(x + 1, y + 1, channel));
        pixels[(v * w + u) * 3 + 2 - channel] = (sum + 512) >> 10;
      }
    }
  }
  return { pixels, origin, size };
}

/**
 * Find the pose in each box.
 * @param {object} ort onnxruntime-web or onnxruntime-node
 * @param {object} session an InferenceSession of pose.onnx
 * @param {object} spec pose.json
 * @param {object} image as cropPerson takes it
 * @param {number[][]} boxes left, top, right, bottom; none for the whole picture
 * @returns {Promise<{box: number[], keypoints: number[][], scores: number[]}[]>}
 */
export async function findPoses(ort, session, spec, image, boxes) {
  if (!boxes.length) boxes = [[0, 0, image.width, image.height]];
  const [w, h] = spec.input_size;
  const crops = boxes.map((box) => cropPerson(image, box, spec));
  let input = new Uint8Array(boxes.length * w * h * 3);
  crops.forEach(({ pixels }, i) => input.set(pixels, i * pixels.length));
  let shape = [boxes.length, h, w, 3], type = "uint8";
  if (spec.input_layout === "NCHW") {
    const planes = new Float32Array(input.length);
    input.forEach((value, i) => {
      const pixel = Math.floor(i / 3), person = Math.floor(pixel / (w * h));
      planes[(person * 3 + (i % 3)) * w * h + (pixel % (w * h))] = value;
    });
    [input, shape, type] = [planes, [boxes.length, 3, h, w], "float32"];
  }
  const { keypoints, scores } = await session.run({ crops: new ort.Tensor(type, input, shape) });
  const count = spec.keypoint_names.length;
  return crops.map(({ origin, size }, i) => ({
    box: boxes[i],
    keypoints: Array.from({ length: count }, (_, k) => [0, 1].map((axis) =>
      origin[axis] + (keypoints.data[(i * count + k) * 2 + axis] * size[axis]) / spec.input_size[axis])),
    scores: Array.from(scores.data.slice(i * count, (i + 1) * count)),
  }));
}

/**
 * Say what to draw: lines and dots with their colours, of keypoints from a score on.
 * @returns {{lines: object[], dots: object[]}}
 */
export function drawing(poses, spec, threshold = 0.3) {
  const rgb = (colour) => `rgb(${colour.join(",")})`;
  const lines = [], dots = [];
  for (const { keypoints, scores } of poses) {
    spec.skeleton.forEach(([a, b], i) => {
      if (Math.min(scores[a], scores[b]) < threshold) return;
      lines.push({ from: keypoints[a], to: keypoints[b], colour: rgb(spec.skeleton_colors[i]) });
    });
    keypoints.forEach((at, k) => {
      if (scores[k] >= threshold) dots.push({ at, colour: rgb(spec.keypoint_colors[k]) });
    });
  }
  return { lines, dots };
}
