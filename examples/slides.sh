#!/usr/bin/env bash
# Tile scores of any model: calibrate on some slides, judge and draw others.
#   bash examples/slides.sh [FOLDER]
# SCORES (a folder with scores.parquet and slides.csv) and REQUIRE may be set from outside; the
# phantom takes half a minute on two cores.
set -euo pipefail
out=${1:-slides}
scores=${SCORES:-'phantom:slides?slides=16&seed=1&auc=0.95'}
fitted=$out/calibration.json

# Patients of the split `val` choose the steps and the threshold; `test` has others.
wsrpn calibrate "$scores" --cross-validate --out "$fitted"
wsrpn heatmap "$scores" --calibration "$fitted" --out "$out/heatmaps" \
  --format png,geojson --limit 3

# stdout is one JSON document for the next program. A requirement that is not met ends eval, and with
# pipefail this script, with exit code 3; the document is written all the same.
summary() {
  if command -v jq >/dev/null; then
    jq -r '.metrics as $m | (("iou_macro", "iou_oracle", "tile_auroc")
      | [., $m[.].value, $m[.].low, $m[.].high]), ["report", .files.report] | @tsv'
  else
    python3 -c '
import json, sys
report = json.load(sys.stdin)
for name in ("iou_macro", "iou_oracle", "tile_auroc"):
    print(name, *report["metrics"][name].values(), sep="\t")
print("report", report["files"]["report"], sep="\t")'
  fi
}
wsrpn eval "$scores" --calibration "$fitted" --out "$out" --json \
  --require "${REQUIRE:-iou_macro>=0.2}" | summary
