#!/usr/bin/env bash
# LoFiT's Table 4: what models trained on TruthfulQA's answers generate. The paper does not say how many heads: 10 %.
# Usage: [MODEL=llama2_7b] [DATA=FOLDER] [JUDGE=allenai] [DRY=1] scripts/reproduce/table4.sh [KEY=VALUE ...]    all settings: grid.sh
source "$(dirname "$0")/grid.sh"
TASKS=truthfulqa

generate() { of_task truthfulqa_generation "$fold" measure "$@" ${JUDGE:+judge="$JUDGE"} || :; }
generate_with() {
  generate "$(of_task truthfulqa_generation "$fold" seed_dir)/eval-$1" seed="$seed" \
    intervention="$(seed_dir)/offsets-$1"
}
row() { train "$@" && generate_with "$1" || :; }
row_on() { select_heads "$1" && row "${@:2}" head_mask="$(heads_dir "$1")" || :; }
rows() {
  generate "$(of_task truthfulqa_generation "$fold" fold_dir)/eval-none" intervention=none
  with_first_seed row_on probe iti iti
  with_each_seed row_on scale lofit-scale-10 lofit_10
  with_each_seed row lora lora
  with_each_seed row red red
}
in_each_fold rows
finish
