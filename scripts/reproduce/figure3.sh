#!/usr/bin/env bash
# LoFiT's Figure 3: which layers the selected heads are in, task by task.
# Usage: [MODEL=llama2_7b] [DATA=FOLDER] [DRY=1] scripts/reproduce/figure3.sh [KEY=VALUE ...]    all settings: grid.sh
source "$(dirname "$0")/grid.sh"
use_tasks truthfulqa mquake clutrr

heads() { select_heads scale || :; }
in_each_fold with_each_seed heads
draw figure3.py --folder "$model_dir" $TASKS
finish
