#!/usr/bin/env bash
# LoFiT's Figure 4: how LoFiT (10 % of the heads), LoRA and RED fare with fewer or more training items.
# Usage: [MODEL=llama2_7b] [DATA=FOLDER] [DRY=1] scripts/reproduce/figure4.sh [KEY=VALUE ...]    all settings: grid.sh
# SIZES="20 100" picks the points, for all tasks.
source "$(dirname "$0")/grid.sh"
use_tasks clutrr mquake

# MQuAKE's release has 134 training items.
sizes_of() { case $1 in mquake) echo "${SIZES:-20 50 100 134}" ;; *) echo "${SIZES:-20 50 100 300 500 1000}" ;; esac; }
row_of_lofit() {
  select_heads scale "-n$size" task.num_train="$size" && train_and_score "lofit-scale-10-n$size" lofit_10 \
    head_mask="$(heads_dir scale)-n$size" task.num_train="$size" || :
}
row_of_each_method() {
  row_of_lofit
  train_and_score "lora-n$size" lora task.num_train="$size"
  train_and_score "red-n$size" red task.num_train="$size"
}
rows() {
  score_as_it_is
  for size in $(sizes_of "$task"); do with_each_seed row_of_each_method; done
}
in_each_fold rows
finish
