#!/usr/bin/env bash
# LoFiT beside its neighbours: its successor, other vectors, prompts, attention to the first token, decoding-time contrast.
# Usage: [MODEL=...] [DATA=FOLDER] [SEEDS=42] [DRY=1] scripts/reproduce/neighbours.sh [KEY=VALUE ...]    settings: grid.sh
# Everything is chosen on the validation split. What is fitted chooses for itself; what is trained tries its learning RATES
# with the first seed, and each fold's best one is scored. FITTED and TUNED name fewer of them; lofit-NAME is LoFiT on the
# heads of selector=NAME. SECOND="jola lora" trains these with the other seeds at the rate that the first one chose;
# SWAPPED="jola lora" once more on TruthfulQA's swapped questions, the control of docs/results.md.
source "$(dirname "$0")/grid.sh"
use_tasks truthfulqa mquake clutrr

FITTED=${FITTED-"icl caa iti repe sadi sink sea dola dola_static proxy"}
TUNED=${TUNED-"lofit_3 lofit-random lofit-gates lofit_iti lora red jola bipo reps prompt dept prefix sink_bias"}

settings_of() { case $1 in lofit-*) echo lofit_3 ;; *) echo "$1" ;; esac; }

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
    lofit-*) select_heads "${1#lofit-}" && heads=(head_mask="$(heads_dir "${1#lofit-}")") ;;
    lofit*) select_heads scale && heads=(head_mask="$(heads_dir scale)") ;;
    iti) select_heads probe && heads=(head_mask="$(heads_dir probe)") ;;
    sadi) select_heads mean_difference && heads=(head_mask="$(heads_dir mean_difference)") ;;
    sink*) select_heads sink "" num_heads=40% && heads=(head_mask="$(heads_dir sink)") ;;
    proxy) heads=(method.source="$(best_of lofit_3)") && is_tuned lofit_3 proxy 2 ;;
    *) heads=() ;;
  esac
}

looks() { echo "$(fold_dir)/looks/$1"; }
# best_of WHAT: the run of this fold whose learning rate the validation split chose; nothing where there is none.
best_of() { [ ! -f "$(looks "$1")/best.txt" ] || cat "$(looks "$1")/best.txt"; }
# is_tuned WHAT FOR NUM_RUNS: whether there is one; says which runs have to wait for it, or can't be made.
is_tuned() {
  [ -z "$(best_of "$1")" ] || return 0
  if [ -n "${DRY:-}" ]; then
    later "$2 at the best rate of $1 in $(fold_dir)" "$3"
  else
    failed+="$(seed_dir)/*$2: no rate of $1 has been looked at on the validation split$nl"
  fi
  return 1
}

try_rates() {
  local what=$1 rate points=()
  is_possible "$what" && heads_of "$what" || return 0
  for rate in $(rates_of "$what"); do
    points+=("$(seed_dir)/tune-$what-$rate")
    learn train-offsets "${points[-1]}" "$(settings_of "$what")" label="$what" trainer.learning_rate="$rate" \
      ${heads[@]+"${heads[@]}"} || :
  done
  draw tune.py "$(looks "$what")" "${points[@]}"
}
score_best() {
  local run_dir
  is_possible "$1" && is_tuned "$1" "evaluation" 1 || return 0
  run_dir=$(best_of "$1")
  measure "$(seed_dir)/eval-${run_dir##*/}" seed="$seed" intervention="$run_dir" || :
}
fit() { heads_of "$1" && train_and_score "$1" "$1" label="$1" ${heads[@]+"${heads[@]}"} || :; }
# again NAME SUFFIX [KEY=VALUE ...]: at the rate that the first seed chose, into offsets-NAME-SUFFIX.
again() {
  local run_dir rate
  is_possible "$1" && is_tuned "$1" "$1$2" 2 && heads_of "$1" || return 0
  run_dir=$(best_of "$1") rate=${run_dir##*"tune-$1-"}
  train_and_score "$1$2" "$(settings_of "$1")" label="$1$2" trainer.learning_rate="$rate" ${heads[@]+"${heads[@]}"} "${@:3}"
}
swapped() { case $task in truthfulqa*) again "$1" -swapped 'task.swap_questions=[train]' ;; esac; }

each() { local what; for what in $2; do "$1" "$what" "${@:3}"; done; }
in_each_fold score_as_it_is
for what in $TUNED; do
  in_each_fold with_first_seed try_rates "$what"
  in_each_fold with_first_seed score_best "$what"
done
in_each_fold with_first_seed each fit "$FITTED"
for seed in $SEEDS; do
  [ "$seed" = "${SEEDS%% *}" ] || in_each_fold each again "${SECOND:-}" ""
done
in_each_fold with_first_seed each swapped "${SWAPPED:-}"
finish group_by='[label]'
