#!/usr/bin/env bash
# LoFiT's Figure 6: how alike the heads of two tasks, of two seeds, and of chance are.
# Usage: [MODEL=llama2_7b] [DATA=FOLDER] [DRY=1] scripts/reproduce/figure6.sh [KEY=VALUE ...]    all settings: grid.sh
source "$(dirname "$0")/grid.sh"
use_tasks truthfulqa mquake clutrr

heads() {
  select_heads scale || :
  select_heads random || :
}
in_each_fold with_each_seed heads
draw figure6.py --folder "$model_dir" $TASKS
finish
