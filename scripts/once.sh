# Sourced by the other scripts. once STAGE RUN_DIR [KEY=VALUE ...]: run a stage into a directory unless it finished there.
once() {
  local stage=$1 run_dir=$2
  shift 2
  if is_finished "$run_dir"; then
    echo "already finished: $run_dir" >&2
  else
    echo "lofit $stage $* hydra.run.dir=$run_dir" >&2
    lofit "$stage" "$@" hydra.run.dir="$run_dir"
  fi
}
# A manifest that is cut off says nothing.
is_finished() { grep -qs '"status": "finished"' "$1/manifest.json" && [ "$(tail -c 2 "$1/manifest.json")" = "}" ]; }
