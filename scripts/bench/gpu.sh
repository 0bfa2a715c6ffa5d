#!/usr/bin/env bash
# The two-fold TruthfulQA job on a GPU, on a model of Llama-2-7B's shape with random weights.
# Usage: [DATA=FOLDER] scripts/bench/gpu.sh [--OPTION VALUE ...]      DATA holds TruthfulQA's fold files
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
if [ -n "${DATA:-}" ]; then
  set -- --data-dir "$DATA" "$@"
fi
exec "${PYTHON:-python}" "$root/scripts/bench/gpu.py" "$@"
