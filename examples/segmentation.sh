#!/usr/bin/env bash
# Images with masks in, outlines of objects out: train a U-Net, choose the threshold on some images,
# judge and draw others, and measure every object of images that are new.
#   bash examples/segmentation.sh [FOLDER]
# DATA (an images.csv with the column mask, or what `wsrpn data phantom` makes), CONFIG, EPOCHS and
# REQUIRE may be set from outside. The phantom takes two minutes on two cores with the small network
# below; CONFIG=beads takes the preset as it is.
set -euo pipefail
out=${1:-segmentation}
data=${DATA:-'phantom:beads?images=60&size=128&beads=5-15&seed=1'}
run=$out/run
config=${CONFIG:-$out/beads.yaml}
if [[ -z ${CONFIG:-} ]]; then
  mkdir -p "$out"
  cat >"$config" <<'YAML'
base: beads
model: {width: 8, depth: 3}
data: {size: 128}
train: {lr: 0.003}
YAML
fi

wsrpn train "$config" --data "$data" --out "$run" --epochs "${EPOCHS:-10}"
# Patients of the split `val` choose the threshold and the smallest object; `test` has others.
wsrpn calibrate "$run"
wsrpn heatmap "$run" --out "$out/heatmaps" --limit 6
# A mask for every image, and a row for every object, as for images that nobody has drawn on.
wsrpn predict "$run" --data "$data" --out "$out/masks" --objects

# stdout is one JSON document for the next program. A requirement that is not met ends eval, and with
# pipefail this script, with exit code 3; the document is written all the same.
wsrpn eval "$run" --json --require "${REQUIRE:-jaccard>=0.4}" | python3 -c '
import json, sys
report = json.load(sys.stdin)
for name in ("jaccard", "dice", "object_ap@0.5"):
    print(name, *report["metrics"][name].values(), sep="\t")
print("report", report["files"]["report"], sep="\t")'
