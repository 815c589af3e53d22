#!/usr/bin/env bash
# Toy people -> training -> COCO AP -> pictures. Run again, it goes on where it was cut short.
#   scripts/demo.sh [OUTPUT_FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PWD/.venv/bin:$PATH

config=configs/sg_hrnet/toy/td-hm_sghrnet-w16_1xb16-25e_toy-128x96.py
out=${1:-work_dirs/demo}
mkdir -p "$out"

echo "==> Drawing toy people, about 10 s"
python tools/make_toy_people.py data/toy --train 1000 --val 200 --clutter 0.1 --occlusion 0.3
echo "==> Training the small SG-HRNet, 5 to 10 minutes on 2 cores (log: $out/train.log)"
python tools/train.py "$config" --work-dir "$out" --resume --cfg-options randomness.seed=0 2>&1 | tee "$out/train.log" |
  sed -unE '/Epoch\(|[Ee]rror/ s/^(.{1,150}).*/\1/p'
checkpoint=$(ls "$out"/best_coco_AP_epoch_*.pth)
echo "==> Testing $checkpoint on persons it has not seen"
python tools/test.py "$config" "$checkpoint" --work-dir "$out/test" --out "$out/metrics.json" \
  >"$out/test.log" 2>&1
python tools/codec_ceiling.py "$config" >"$out/ceiling.log" 2>&1
echo "==> Drawing the poses that it sees in unseen pictures"
python scripts/demo_inference.py "$config" "$checkpoint" "$out" >"$out/inference.log" 2>&1

cat <<END

AP on unseen toy people:                $(python -c "import json; print('%.3f' % json.load(open('$out/metrics.json'))['coco/AP'])")
AP of encoding and decoding the truth:  $(sed -n 's|^coco/AP of.*: ||p' "$out/ceiling.log" | cut -c1-5)

log         $out/train.log
checkpoint  $checkpoint
pictures    $out/pictures/visualizations/*.png

Next, with COCO in data/coco (annotations/, train2017/, val2017/):

  . .venv/bin/activate
  mim train sgpose configs/sg_hrnet/coco/td-hm_sghrnet-w32_8xb64-210e_coco-256x192.py --gpus 1
END
