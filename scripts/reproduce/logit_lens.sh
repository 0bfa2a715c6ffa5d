#!/usr/bin/env bash
# LoFiT's appendix E: the tokens that the trained offsets of LoFiT on 3 % of the heads point at.
# Usage: [MODEL=llama2_7b] [DATA=FOLDER] [DRY=1] scripts/reproduce/logit_lens.sh [KEY=VALUE ...]    all settings: grid.sh
source "$(dirname "$0")/grid.sh"
use_tasks truthfulqa clutrr

look() {
  select_heads scale && train lofit-scale lofit_3 head_mask="$(heads_dir scale)" &&
    draw logit_lens.py "$(seed_dir)/offsets-lofit-scale" --out "$model_dir/logit_lens/$task-$fold" || :
}
in_each_fold with_first_seed look
finish
