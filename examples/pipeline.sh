#!/usr/bin/env bash
# The four commands in a pipeline that fails when the model is not good enough:
#   bash examples/pipeline.sh [FOLDER]
# DATA, EPOCHS and REQUIRE may be set from outside; the phantom takes a minute on two cores.
set -euo pipefail
out=${1:-pipeline}
data=${DATA:-'phantom:cxr?images=300&size=128&seed=1'}
run=$out/run

wsrpn train wsrpn-demo --data "$data" --out "$run" --epochs "${EPOCHS:-6}" --set data.size=128
wsrpn calibrate "$run"
wsrpn heatmap "$run" --out "$out/heatmaps" --limit 8

# stdout is one JSON document for the next program. A requirement that is not met ends eval, and with
# pipefail this script, with exit code 3; the document is written all the same.
wsrpn eval "$run" --json --require "${REQUIRE:-auroc>=0.6}" | python3 -c '
import json, sys
report = json.load(sys.stdin)
for name in ("auroc", "ap@0.3", "pointing_game"):
    print(name, report["metrics"][name]["value"], sep="\t")
print("report", report["files"]["report"], sep="\t")'
