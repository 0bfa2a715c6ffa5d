#!/usr/bin/env bash
# LoFiT's Figure 2: the heads selected for one task, tuned for another.
# Usage: [MODEL=llama2_7b] [DATA=FOLDER] [DRY=1] scripts/reproduce/figure2.sh [KEY=VALUE ...]    all settings: grid.sh
source "$(dirname "$0")/grid.sh"
use_tasks truthfulqa mquake clutrr

# Of a source with two folds the first one's heads are taken.
tune_heads_of() {
  of_task "$1" 0 select_heads scale &&
    train_and_score "lofit-scale-from-$1" lofit_3 head_mask="$(of_task "$1" 0 heads_dir scale)" || :
}
column() {
  tune_heads scale 3
  for source in $TASKS; do [ "$source" = "$task" ] || tune_heads_of "$source"; done
  tune_heads random 3
}
rows() {
  score_as_it_is
  with_each_seed column
}
in_each_fold rows
draw figure2.py "$model_dir" $TASKS
finish
