#!/usr/bin/env bash
# How many heads does LoFiT need? K = 1, 3, 10, 20, 50 % of all heads, from one head selection (LoFiT, Figure 5).
# Usage: scripts/ablate_num_heads.sh [KEY=VALUE ...]    overrides that all stages take, such as model=..., task=..., seed=...
# SHARES="1 3 10" picks the points; OUT=runs/ablate_num_heads says where the runs go; finished points are skipped.
set -euo pipefail
source "$(dirname "$0")/once.sh"
out=${OUT:-runs/ablate_num_heads}

once evaluate "$out/none" intervention=none "$@"
once select-heads "$out/heads" "$@"
runs="$out/none"
for share in ${SHARES:-1 3 10 20 50}; do
  once train-offsets "$out/offsets-$share" head_mask="$out/heads" num_heads="$share%" "$@"
  once evaluate "$out/$share" intervention="$out/offsets-$share" "$@"
  runs="$runs,$out/$share"
done
lofit compare "runs=[$runs]"
