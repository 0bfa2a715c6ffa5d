#!/usr/bin/env bash
# LoFiT's Table 2: offsets trained on the heads of five selectors, 3 % of all.
# Usage: [MODEL=llama2_7b] [DATA=FOLDER] [DRY=1] scripts/reproduce/table2.sh [KEY=VALUE ...]    all settings: grid.sh
source "$(dirname "$0")/grid.sh"
use_tasks truthfulqa mquake clutrr

rows() {
  score_as_it_is
  for selector in probe_layers random offset_norm probe scale; do with_each_seed tune_heads "$selector" 3; done
}
in_each_fold rows
finish
