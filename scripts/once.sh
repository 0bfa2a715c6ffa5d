# Sourced by the other scripts. once STAGE RUN_DIR [KEY=VALUE ...]: run a stage into a directory unless it finished there.
#
# One process runs all stages of a script, so that a model is loaded once. ONE_PROCESS=0 starts one for each.
once() {
  local stage=$1 run_dir=$2
  shift 2
  if is_finished "$run_dir"; then
    echo "already finished: $run_dir" >&2
  else
    echo "lofit $stage $* hydra.run.dir=$run_dir" >&2
    run_stage "$stage" "$@" hydra.run.dir="$run_dir"
  fi
}
# A manifest that is cut off says nothing.
is_finished() { grep -qs '"status": "finished"' "$1/manifest.json" && [ "$(tail -c 2 "$1/manifest.json")" = "}" ]; }

run_stage() {
  if [ "${ONE_PROCESS:-1}" = 0 ]; then
    lofit "$@"
    return
  fi
  is_running || start_process
  printf '%s\0' "$#" "$@" >&8
  local status=
  # A signal ends the reading, and is the stage's own to answer.
  until read -r -t 5 status <&9; do
    is_running || { read -r -t 1 status <&9 || status=1; break; }
  done
  return "${status:-1}"
}
is_running() { [ -n "${process:-}" ] && kill -0 "$process" 2>/dev/null; }
start_process() {
  [ -n "${pipes:-}" ] || pipes=$(mktemp -d)
  trap 'rm -rf "$pipes"' EXIT
  trap : INT
  rm -f "$pipes/words" "$pipes/statuses"
  mkfifo "$pipes/words" "$pipes/statuses"
  python "$(dirname "${BASH_SOURCE[0]}")/one_process.py" "$pipes/words" "$pipes/statuses" &
  process=$!
  # For reading and writing, so that a process that never comes is not waited for.
  exec 8<>"$pipes/words" 9<>"$pipes/statuses"
}
