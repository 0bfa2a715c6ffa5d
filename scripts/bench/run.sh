#!/usr/bin/env bash
# lofit beside lm-eval, TRL and PEFT, in one process and by turns; what it found is in runs/bench.
# Usage: [DATA=FOLDER] [BENCH_VENV=.venv-bench] [PYTHON=python3] scripts/bench/run.sh [--OPTION VALUE ...]
# DATA holds TruthfulQA's fold files, or TruthfulQA.csv; without it the bundled questions are taken. Options: --help
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
venv=${BENCH_VENV:-$root/.venv-bench}
installed=$venv/.installed
files=("$root/pyproject.toml" "$root/scripts/constraints.txt" "$root/scripts/bench/requirements.txt")

is_installed() {
  local file
  [ -e "$installed" ] || return 1
  for file in "${files[@]}"; do [ "$installed" -nt "$file" ] || return 1; done
}
if ! is_installed; then
  [ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    -c "$root/scripts/constraints.txt" -e "$root" -r "$root/scripts/bench/requirements.txt"
  touch "$installed"
fi
if [ -n "${DATA:-}" ]; then
  set -- --data-dir "$DATA" "$@"
fi
# torch's profiler tells when it starts and stops.
export KINETO_LOG_LEVEL=${KINETO_LOG_LEVEL:-6}
exec "$venv/bin/python" "$root/scripts/bench/run.py" "$@"
