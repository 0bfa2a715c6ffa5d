#!/usr/bin/env bash
# Learning rates of LoFiT at 10 % of the heads and of LoRA: as many for each, looked at on the validation split alone.
# Usage: [MODEL=...] [DATA=FOLDER] [DRY=1] scripts/reproduce/tune.sh [KEY=VALUE ...]    all settings: grid.sh
# LOFIT_RATES="2e-3 5e-3 1e-2 2e-2" and LORA_RATES="3e-4 1e-3 3e-3 1e-2" pick the points; the first seed is taken.
source "$(dirname "$0")/grid.sh"
use_tasks truthfulqa

points=()
try() {
  local run_dir
  run_dir=$(seed_dir)/tune-$1-$3
  points+=("$run_dir")
  learn train-offsets "$run_dir" "$2" trainer.learning_rate="$3" "${@:4}" || :
}
rows() {
  for rate in ${LORA_RATES:-3e-4 1e-3 3e-3 1e-2}; do try lora lora "$rate"; done
  select_heads scale || return 0
  for rate in ${LOFIT_RATES:-2e-3 5e-3 1e-2 2e-2}; do try lofit-10 lofit_10 "$rate" head_mask="$(heads_dir scale)"; done
}
in_each_fold with_first_seed rows
draw tune.py "$model_dir/tune" "${points[@]}"
finish
