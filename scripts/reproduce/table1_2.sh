#!/usr/bin/env bash
# Tables 1 and 2 one after the other, to be left alone; what they share is run once.
# Usage: [MODEL=llama2_7b] [DATA=FOLDER] nohup scripts/reproduce/table1_2.sh [KEY=VALUE ...] &    all settings: grid.sh
set -uo pipefail
status=0
for table in table1 table2; do
  "$(dirname "$0")/$table.sh" "$@" || status=$?
  [ "$status" != 130 ] || break # interrupted
done
exit "$status"
