#!/usr/bin/env bash
# LoFiT beside its neighbours: its successor, other vectors, prompts, attention to the first token, decoding-time contrast.
# Usage: [MODEL=...] [DATA=FOLDER] [SEEDS=42] [DRY=1] scripts/reproduce/neighbours.sh [KEY=VALUE ...]    settings: grid.sh
# Everything is chosen on the validation split. What is fitted chooses for itself; what is trained tries its learning RATES
# with the first seed, and each fold's best one is scored. FITTED, TUNED and HEADS (selectors for LoFiT) name fewer of them;
# SECOND="jola lora" trains these with the other seeds at the rate that the first one chose; SWAPPED="jola lora" once more
# on swapped questions, the control of docs/results.md.
source "$(dirname "$0")/grid.sh"
use_tasks truthfulqa mquake clutrr

FITTED=${FITTED-"icl caa iti repe sadi sink sea dola dola_static proxy"}
TUNED=${TUNED-"lofit_3 lofit_iti lora red jola bipo reps prompt dept prefix sink_bias"}
HEADS=${HEADS-"random gates"}

rates_of() {
  [ -z "${RATES:-}" ] || { echo "$RATES"; return; }
  case $1-$task in
    lofit*-truthfulqa) echo "3e-3 1e-2 3e-2" ;;
    lofit*) echo "3e-2 1e-1 3e-1" ;;
    sink_bias-*) echo "3e-2 1e-1 3e-1" ;;
    bipo-* | reps-* | prompt-* | dept-*) echo "1e-2 3e-2 1e-1" ;;
    *) echo "1e-3 3e-3 1e-2" ;;
  esac
}

# Pairs of right and wrong answers are TruthfulQA's alone, and so are steps along their difference.
is_possible() { case $1-$task in bipo-truthfulqa* | reps-truthfulqa*) true ;; bipo-* | reps-*) false ;; *) true ;; esac; }

heads_of() {
  case $1 in
    lofit*) select_heads scale && heads=(head_mask="$(heads_dir scale)") ;;
    iti) select_heads probe && heads=(head_mask="$(heads_dir probe)") ;;
    sadi) select_heads mean_difference && heads=(head_mask="$(heads_dir mean_difference)") ;;
    sink*) select_heads sink "" num_heads=40% && heads=(head_mask="$(heads_dir sink)") ;;
    proxy) heads=(method.source="$(best_of lofit_3)") && [ "${heads[0]}" != method.source= ] ;;
    *) heads=() ;;
  esac
}

looks() { echo "$(fold_dir)/looks/$1"; }
# best_of WHAT: the run of this fold whose learning rate the validation split chose; nothing where there is none.
best_of() { [ ! -f "$(looks "$1")/best.txt" ] || cat "$(looks "$1")/best.txt"; }

try_rates() {
  local what=$1 rate points=()
  is_possible "$what" && heads_of "$what" || return 0
  for rate in $(rates_of "$what"); do
    points+=("$(seed_dir)/tune-$what-$rate")
    learn train-offsets "${points[-1]}" "$what" trainer.learning_rate="$rate" ${heads[@]+"${heads[@]}"} || :
  done
  draw tune.py "$(looks "$what")" "${points[@]}"
}
score_best() {
  local run_dir
  if [ -n "${DRY:-}" ]; then
    echo "# evaluate the best of $(seed_dir)/tune-$1-*"
  elif run_dir=$(best_of "$1") && [ -n "$run_dir" ]; then
    measure "$(seed_dir)/eval-${run_dir##*/}" seed="$seed" intervention="$run_dir" || :
  fi
}
fit() { heads_of "$1" && train_and_score "$1" "$1" ${heads[@]+"${heads[@]}"} || :; }
# again NAME SUFFIX [KEY=VALUE ...]: at the rate that the first seed chose, into offsets-NAME-SUFFIX.
again() {
  local run_dir rate
  run_dir=$(best_of "$1") && [ -n "$run_dir" ] && heads_of "$1" || return 0
  rate=${run_dir##*"tune-$1-"}
  train_and_score "$1$2" "$1" trainer.learning_rate="$rate" ${heads[@]+"${heads[@]}"} "${@:3}"
}

each() { local what; for what in $2; do "$1" "$what" "${@:3}"; done; }
in_each_fold score_as_it_is
for what in $TUNED; do
  in_each_fold with_first_seed try_rates "$what"
  in_each_fold with_first_seed score_best "$what"
done
in_each_fold with_first_seed each fit "$FITTED"
in_each_fold with_first_seed each tune_heads "$HEADS" 3
for seed in $SEEDS; do
  [ "$seed" = "${SEEDS%% *}" ] || in_each_fold each again "${SECOND:-}" ""
done
in_each_fold with_first_seed each again "${SWAPPED:-}" -swapped 'task.swap_questions=[train]'
finish group_by='[method,num_heads]'
