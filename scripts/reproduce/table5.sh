#!/usr/bin/env bash
# LoFiT's Table 5: models trained on TruthfulQA's fold 0, on tasks they were not trained for.
# Usage: [MODEL=llama2_7b_chat SETTINGS=llama2_7b] [DATA=FOLDER] [DRY=1] scripts/reproduce/table5.sh [KEY=VALUE ...]
# TASKS="truthfulqa triviaqa nq mmlu" says what is measured. The paper does not say how many heads: 10 %. See grid.sh.
source "$(dirname "$0")/grid.sh"
measured=${TASKS:-truthfulqa triviaqa nq mmlu}
TASKS=truthfulqa FOLDS=0

for_each_measured() { for other in $measured; do "$@" "$other"; done; }
as_it_is() { of_task "$1" 0 score_as_it_is; }
with_intervention() {
  of_task "$2" 0 measure "$(of_task "$2" 0 seed_dir)/eval-$1" seed="$seed" intervention="$(seed_dir)/offsets-$1" || :
}
row() { train "$@" && for_each_measured with_intervention "$1" || :; }
row_on() { select_heads "$1" && row "${@:2}" head_mask="$(heads_dir "$1")" || :; }
rows() {
  for_each_measured as_it_is
  with_first_seed row_on probe iti iti
  with_each_seed row red red
  with_each_seed row lora lora
  with_each_seed row_on scale lofit-scale-10 lofit_10
}
in_each_fold rows
finish
