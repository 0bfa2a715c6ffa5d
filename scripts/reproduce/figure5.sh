#!/usr/bin/env bash
# LoFiT's Figure 5: how many heads LoFiT needs, 1, 3, 10, 20 and 50 % of all.
# Usage: [MODEL=llama2_7b] [DATA=FOLDER] [DRY=1] scripts/reproduce/figure5.sh [KEY=VALUE ...]    all settings: grid.sh
# SHARES="1 3 10" picks the points. Up to 3 % the settings are those of 3 %, above those of 10 %.
source "$(dirname "$0")/grid.sh"
use_tasks mquake clutrr

row() {
  case $1 in
    3 | 10) tune_heads scale "$1" ;;
    [0-2] | [0-2].*) row_with "$1" lofit_3 ;;
    *) row_with "$1" lofit_10 ;;
  esac
}
row_with() {
  select_heads scale &&
    train_and_score "lofit-scale-$1" "$2" head_mask="$(heads_dir scale)" num_heads="$1%" || :
}
rows() {
  score_as_it_is
  for share in ${SHARES:-1 3 10 20 50}; do with_each_seed row "$share"; done
}
in_each_fold rows
finish
