#!/usr/bin/env bash
# The whole job on the embedded model and the bundled questions: the model as it is, LoFiT's heads, and random heads.
# Usage: scripts/demo.sh [KEY=VALUE ...]    overrides that all stages take, such as model=..., task=..., seed=...
# TRAINING="KEY=VALUE ..." overrides what the two stages that train take, such as trainer.num_epochs=3.
# OUT=runs/demo says where the runs go; what finished there is not run again.
set -euo pipefail
source "$(dirname "$0")/once.sh"
out=${OUT:-runs/demo}

once evaluate "$out/none" intervention=none "$@"
for selector in scale random; do
  once select-heads "$out/$selector-heads" selector=$selector ${TRAINING:-} "$@"
  once train-offsets "$out/$selector-offsets" head_mask="$out/$selector-heads" ${TRAINING:-} "$@"
  once evaluate "$out/$selector" intervention="$out/$selector-offsets" "$@"
done
lofit compare "runs=[$out/none,$out/scale,$out/random]"
