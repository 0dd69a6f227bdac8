#!/usr/bin/env bash
# Slides in, maps of tumour out, learned from normal tissue alone: train a VAE on tiles, score
# slides, calibrate on some, judge and draw others.
#   bash examples/anomaly.sh [FOLDER]
# SLIDES (a slides.csv with the columns file, patient, split and annotation), CONFIG, EPOCHS and
# REQUIRE may be set from outside. The phantom takes two minutes on two cores with the small model
# below; CONFIG=vae-b1 takes the preset as it is, tiles of 96 pixels of 0.972 µm.
set -euo pipefail
out=${1:-anomaly}
slides=${SLIDES:-$out/slides/slides.csv}
phantom=${PHANTOM:-'slides?files=true&slides=12&tiles=120&tile=96&mpp=1&burden=0.1-0.3&seed=1'}
run=$out/run

if [[ -z ${SLIDES:-} && ! -e $slides ]]; then
  wsrpn data phantom "$phantom" --out "$out/slides"
fi
config=${CONFIG:-$out/vae.yaml}
if [[ -z ${CONFIG:-} ]]; then
  mkdir -p "$out"
  cat >"$config" <<'YAML'
base: vae-b1
model: {width: 8}
data: {size: 48}
tiles: {mpp: 2}
train: {batch: 32, lr: 0.003}
YAML
fi

# Normal tiles of the split `train` alone. A run that was stopped goes on with --resume.
wsrpn train "$config" --data "$slides" --out "$run" --epochs "${EPOCHS:-6}"
# One row a tile in run/scores.parquet; slides that are scored already are not read again.
wsrpn score "$run" --data "$slides"
# Patients of the split `val` choose the steps and the threshold; `test` has others.
wsrpn calibrate "$run" --data "$slides" --cross-validate
wsrpn heatmap "$run" --data "$slides" --out "$out/heatmaps" --format png,geojson --limit 3

# stdout is one JSON document for the next program. A requirement that is not met ends eval, and with
# pipefail this script, with exit code 3; the document is written all the same.
wsrpn eval "$run" --data "$slides" --json --require "${REQUIRE:-tile_auroc>=0.8}" | python3 -c '
import json, sys
report = json.load(sys.stdin)
for name in ("iou_macro", "iou_oracle", "tile_auroc"):
    print(name, *report["metrics"][name].values(), sep="\t")
print("report", report["files"]["report"], sep="\t")'
