#!/usr/bin/env bash
# LoFiT's Table 3: LoFiT on 10 % of the heads against LoRA, RED, RED on the upper half of the layers, and LoReFT.
# Usage: [MODEL=llama2_7b] [DATA=FOLDER] [DRY=1] scripts/reproduce/table3.sh [KEY=VALUE ...]    all settings: grid.sh
source "$(dirname "$0")/grid.sh"
use_tasks truthfulqa mquake clutrr siqa arc_challenge boolq svamp

row_of_each_method() {
  tune_heads scale 10
  train_and_score lora lora
  train_and_score red red
  train_and_score red-upper_half red method.layers=upper_half
  train_and_score loreft loreft
}
rows() {
  score_as_it_is
  with_each_seed row_of_each_method
}
in_each_fold rows
finish
