#!/usr/bin/env bash
# LoFiT's Table 1: the model as it is, ITI, RepE, and LoFiT on 3 % of the heads.
# Usage: [MODEL=llama2_7b] [DATA=FOLDER] [DRY=1] scripts/reproduce/table1.sh [KEY=VALUE ...]    all settings: grid.sh
source "$(dirname "$0")/grid.sh"
use_tasks truthfulqa mquake clutrr

row_of_iti() { select_heads probe && train_and_score iti iti head_mask="$(heads_dir probe)" || :; }
rows() {
  score_as_it_is
  with_first_seed row_of_iti
  with_first_seed train_and_score repe repe
  with_each_seed tune_heads scale 3
}
in_each_fold rows
finish
