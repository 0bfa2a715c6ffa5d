#!/usr/bin/env bash
# Learning rates looked at on the validation split alone, as many for each: of LoRA and of LoFiT at 10 % of the heads.
# TEST=1 then scores the test split with each fold's best rate: methods side by side that were tuned alike.
# Usage: [MODEL=...] [DATA=FOLDER] [DRY=1] scripts/reproduce/tune.sh [KEY=VALUE ...]    all settings: grid.sh
# TUNED="lora lofit_10" names the settings (lofit_3, red and loreft are others), RATES="1e-3 3e-3" the points of each; the
# first seed is taken.
source "$(dirname "$0")/grid.sh"
use_tasks truthfulqa

points=()
rates_of() { case $1 in lofit*) echo "3e-3 1e-2 3e-2 1e-1" ;; *) echo "3e-4 1e-3 3e-3 1e-2" ;; esac; }
try() {
  local run_dir
  run_dir=$(seed_dir)/tune-$1-$2
  points+=("$run_dir")
  learn train-offsets "$run_dir" "$1" label="$1" trainer.learning_rate="$2" "${@:3}" || :
}
rows() {
  local what rate heads
  for what in ${TUNED:-lora lofit_10}; do
    heads=()
    case $what in lofit*) select_heads scale || continue; heads=(head_mask="$(heads_dir scale)") ;; esac
    for rate in ${RATES:-$(rates_of "$what")}; do try "$what" "$rate" ${heads[@]+"${heads[@]}"}; done
  done
}
test_best() {
  local what run_dir
  score_as_it_is
  for what in ${TUNED:-lora lofit_10}; do
    if [ -n "${DRY:-}" ]; then
      later "evaluate the best of $(seed_dir)/tune-$what-*" 1
    elif run_dir=$(grep -sF "/$task-$fold/seed-$seed/tune-$what-" "$best"); then
      measure "$(seed_dir)/eval-${run_dir##*/}" seed="$seed" intervention="$run_dir" || :
    else
      failed+="$(seed_dir)/tune-$what-*: no rate has been looked at on the validation split$nl"
    fi
  done
}
best=$model_dir/tune/best.txt
in_each_fold with_first_seed rows
[ -n "${DRY:-}" ] || rm -f "$best"
draw tune.py "$model_dir/tune" ${points[@]+"${points[@]}"}
[ -z "${TEST:-}" ] || in_each_fold with_first_seed test_best
finish group_by='[label]'
