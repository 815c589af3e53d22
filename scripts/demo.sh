#!/usr/bin/env bash
# Toy people -> HRNet and SG-HRNet -> COCO AP of both -> their poses side by side.
# Run again, it goes on where it was cut short.
#   scripts/demo.sh [OUTPUT_FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PWD/.venv/bin:$PATH

out=${1:-work_dirs/demo}
mkdir -p "$out"

if [ ! -f "$out/drawn" ]; then
  echo "==> Drawing toy people, less than a minute"
  python tools/make_toy_people.py data/toy --train 2000 --val 200 --clutter 0.5
  python tools/make_toy_people.py data/toy-clutter --train 0 --val 1000 --clutter 1
  touch "$out/drawn"
fi
echo "==> Training HRNet and SG-HRNet side by side, about 10 minutes on 2 cores (logs: $out/*/seed_0/console.log)"
python tools/compare.py --study scripts/demo.yml --out "$out" --jobs 2 2>"$out/errors.log" |
  sed -unE 's/train\) +\[ *([0-9]+)\].* eta: ([0-9:]+).* loss: ([0-9.]+).*/epoch \1: loss \3, \2 left/p
    s/val\) +\[ *([0-9]+)\].*coco\/AP: ([0-9.]+) .*/epoch \1: AP \2 where it is less cluttered/p
    /AP .* after|FAILED|Error|exit status/p'

config=configs/sg_hrnet/toy/td-hm_hrnet-w16_1xb16-25e_toy-128x96.py
guided=configs/sg_hrnet/toy/td-hm_sghrnet-w16_1xb16-25e_toy-128x96.py
options=(test_dataloader.dataset.data_root=data/toy-clutter/
  test_evaluator.ann_file=data/toy-clutter/annotations/person_keypoints_val.json)
echo "==> Drawing the poses of both"
python tools/gallery.py $config "$out"/HRNet-*/seed_0/epoch_12.pth \
  --also $guided "$out"/SG-HRNet-*/seed_0/epoch_12.pth \
  --out "$out/gallery" --cfg-options "${options[@]}" test_dataloader.dataset.indices=200 \
  >"$out/gallery.log" 2>&1
python tools/codec_ceiling.py $config --cfg-options "${options[@]}" >"$out/ceiling.log" 2>&1

python - "$out" <<'END'
import json
import pathlib
import sys

out = pathlib.Path(sys.argv[1])
print("\nAP on 1,000 unseen persons in front of strong clutter, one training each:")
for line in (out / "runs.jsonl").read_text().splitlines():
    run = json.loads(line)
    print(f"  {run['arm']:<10}{100 * run['value']:.1f}   ({run['seconds'] / 60:.0f} minutes)")
(ceiling,) = [x for x in (out / "ceiling.log").read_text().splitlines() if x.startswith("coco/AP of")]
print(f"  the codec {100 * float(ceiling.split()[-1]):.1f}   (encoding and decoding the truth)")
END
cat <<END

pictures  $out/gallery/gallery.html
report    $out/report.md

Next, with COCO in data/coco (annotations/, train2017/, val2017/):

  . .venv/bin/activate
  mim train sgpose configs/sg_hrnet/coco/td-hm_sghrnet-w32-supervision_8xb64-210e_coco-256x192.py --gpus 1
END
