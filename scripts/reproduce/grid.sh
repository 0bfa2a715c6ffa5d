# Sourced by the scripts of this folder: the runs that a table or figure is made of, and where they lie.
#
#   MODEL=smollm2     a name of conf/model; the settings are conf/experiment/MODEL's, or default's where it has none
#   SETTINGS=NAME     another folder of conf/experiment, such as llama2_7b for MODEL=llama2_7b_chat
#   SEEDS="42 1"      FOLDS="0 1" of TruthfulQA     TASKS="..." instead of the script's own
#   DATA=FOLDER       holds truthfulqa/, mquake/, clutrr/, ...; a task without a folder there comes from the Hub, where
#                     mquake, siqa and truthfulqa_binary can't be had
#   OUT=runs/paper    DTYPE=bfloat16     TRAINING="KEY=VALUE ..." for the two stages that train
#   JUDGE=allenai     judges of table4.sh: a name of conf/judge
#   ONE_PROCESS=0     a process for each run, in place of one that keeps the model from run to run
#   DRY=1             print the commands, and how many are still to do, and run none
#   arguments         KEY=VALUE overrides that all three stages take, such as model.device=cpu
#
# In OUT/MODEL[-DTYPE]/TASK-FOLD: eval-none, heads-probe, heads-probe_layers, and seed-SEED with heads-SELECTOR, offsets-NAME
# and eval-NAME. What finished there is not run again, whatever its settings were: choose another OUT for other ones. A run
# that fails stops only those that are built on it.
set -euo pipefail
this_folder=$(dirname "${BASH_SOURCE[0]}")
source "$this_folder/../once.sh"

experiments=$this_folder/../../conf/experiment
MODEL=${MODEL:-smollm2} SEEDS=${SEEDS:-42 1} OUT=${OUT:-runs/paper}
[ -n "${SETTINGS:-}" ] || { [ -d "$experiments/$MODEL" ] && SETTINGS=$MODEL || SETTINGS=default; }
refuse() { echo "$(basename "$0"): $*" >&2 && exit 2; }
[ -d "$experiments/$SETTINGS" ] || refuse "SETTINGS=$SETTINGS is no folder of conf/experiment"
[ -z "${DATA:-}" ] || [ -d "$DATA" ] || refuse "DATA=$DATA is not a folder"
case " $* " in *" model="* | *" model.dtype="*) refuse "give MODEL= and DTYPE= before the command: they name the folder" ;; esac
model_dir=$OUT/$MODEL${DTYPE:+-$DTYPE}
common=(model="$MODEL" ${DTYPE:+model.dtype="$DTYPE"} "$@")
nl=$'\n' planned=$'\n' failed=$'\n' evaluated=() num_runs=0 num_finished=0 num_later=0

# use_tasks TASK ...: those of them that SETTINGS has settings for, unless TASKS says otherwise.
use_tasks() {
  local name found=""
  for name in "$@"; do
    ! grep -qE "[{,]($name|other):" "$experiments/$SETTINGS/select.yaml" || found="$found $name"
  done
  TASKS=${TASKS:-$found}
  for name in $TASKS; do
    [ -f "$this_folder/../../conf/task/$name.yaml" ] || refuse "TASKS: $name is none of conf/task"
  done
}

# in_each_fold COMMAND: run it with $task and $fold set. with_each_seed and with_first_seed set $seed.
in_each_fold() { for task in $TASKS; do for fold in $(folds_of "$task"); do "$@"; done; done; }
with_each_seed() { for seed in $SEEDS; do "$@"; done; }
with_first_seed() { seed=${SEEDS%% *}; "$@"; }
folds_of() { case $1 in truthfulqa*) echo "${FOLDS:-0 1}" ;; *) echo 0 ;; esac; }

# of_task TASK FOLD COMMAND: run it as if it were that task's turn.
of_task() { local task=$1 fold=$2; shift 2; "$@"; }

fold_dir() { echo "$model_dir/$task-$fold"; }
seed_dir() { echo "$(fold_dir)/seed-$seed"; }
heads_dir() { case $1 in probe*) echo "$(fold_dir)/heads-$1" ;; *) echo "$(seed_dir)/heads-$1" ;; esac; }

# select_heads SELECTOR [SUFFIX] [KEY=VALUE ...]
select_heads() {
  local selector=$1 suffix=${2:-} options=()
  # The paper gives no settings for this one: step 2's learning rate, without step 1's penalty.
  [ "$selector" != offset_norm ] || options=(trainer.learning_rate=1e-2 trainer.l1=0)
  learn select-heads "$(heads_dir "$selector")$suffix" select selector="$selector" ${options[@]+"${options[@]}"} "${@:3}"
}

# train NAME WHAT [KEY=VALUE ...]: offsets-NAME by the experiment SETTINGS/WHAT.
train() { learn train-offsets "$(seed_dir)/offsets-$1" "$2" "${@:3}"; }

# score NAME: eval-NAME of offsets-NAME. train_and_score takes what train takes.
score() { measure "$(seed_dir)/eval-$1" seed="$seed" intervention="$(seed_dir)/offsets-$1" || :; }
score_as_it_is() { measure "$(fold_dir)/eval-none" intervention=none || :; }
train_and_score() { train "$@" && score "$1" || :; }

# tune_heads SELECTOR SHARE: LoFiT on the best 3 or 10 % of the heads.
tune_heads() {
  local name=lofit-$1
  [ "$2" = 3 ] || name=$name-$2
  select_heads "$1" && train_and_score "$name" "lofit_$2" head_mask="$(heads_dir "$1")" || :
}

# learn STAGE RUN_DIR WHAT [KEY=VALUE ...] and measure RUN_DIR [KEY=VALUE ...]: a run with the task's settings and data.
learn() {
  find_data
  run_point "$1" "$2" experiment="$SETTINGS/$3" task="$task" "${data[@]}" seed="$seed" trainer.validate_every=5 \
    ${TRAINING:-} "${@:4}"
}
measure() {
  find_data
  run_point evaluate "$1" task="$task" "${data[@]}" "${@:2}" && evaluated+=("$1")
}
find_data() {
  local folder=$task
  case $task in truthfulqa*) folder=truthfulqa ;; esac
  data=(task.fold="$fold")
  [ ! -d "${DATA:-}/$folder" ] || data+=(task.data_dir="$DATA/$folder")
}

# run_point STAGE RUN_DIR [KEY=VALUE ...]: run it unless it finished before or was tried in this call.
run_point() {
  local stage=$1 run_dir=$2 status=0
  shift 2
  [[ $failed != *"$nl$run_dir$nl"* ]] || return 1
  [[ $planned != *"$nl$run_dir$nl"* ]] || return 0
  planned+=$run_dir$nl num_runs=$((num_runs + 1))
  ! is_finished "$run_dir" || num_finished=$((num_finished + 1))
  if [ -n "${DRY:-}" ]; then
    is_finished "$run_dir" || print_command lofit "$stage" "${common[@]}" "$@" hydra.run.dir="$run_dir"
    return 0
  fi
  once "$stage" "$run_dir" "${common[@]}" "$@" || status=$?
  [ "$status" != 130 ] || exit 130 # interrupted
  [ "$status" = 0 ] || failed+=$run_dir$nl
  return "$status"
}
# later WHAT NUM_RUNS: of a dry run, runs whose settings depend on others that have not finished.
later() { echo "# $1" && num_later=$((num_later + $2)); }
print_command() { printf '%q ' "$@" && echo; }

# draw SCRIPT [ARGUMENT ...]: a figure from the runs, by a Python script of this folder.
draw() { finally "$1" python "$this_folder/$1" "${@:2}"; }
finally() {
  if [ -n "${DRY:-}" ]; then print_command "${@:2}"; else "${@:2}" || failed+=$1$nl; fi
}

# finish [KEY=VALUE ...]: compare what there is, say what failed, and end.
finish() {
  local runs more=""
  runs=$(for run_dir in ${evaluated[@]+"${evaluated[@]}"}; do echo "$run_dir"; done | paste -sd, -)
  if [ -n "$runs" ]; then
    finally compare lofit compare "runs=[$runs]" "$@" hydra.run.dir="$model_dir/$(basename "$0" .sh)/$(date +%F_%H-%M-%S)"
  fi
  if [ -n "${DRY:-}" ]; then
    [ "$num_later" = 0 ] || more=", and $num_later whose settings depend on these"
    echo "# $num_runs runs: $num_finished finished, $((num_runs - num_finished)) to do$more"
  fi
  [ "$failed" != "$nl" ] || exit 0
  printf "failed:%s" "$failed" >&2
  exit 1
}
