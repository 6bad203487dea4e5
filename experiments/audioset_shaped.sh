#!/usr/bin/env bash
# From a data set in AudioSet's shape to its report, by the command line alone, as README's "Train on AudioSet" has it.
#
#   results/audioset_shaped.sh ESC-50-FOLDER WORK-FOLDER
#
# Some ten minutes on 2 cores. Interrupted, the same command goes on. What it prints is results/audioset-shaped.md.
set -euo pipefail
bank="$(realpath "$1")" here="$(dirname "$(realpath "$0")")"
mkdir -p "$2" && cd "$2"

[ -e audioset/data/eval/00.parquet ] || { rm -rf audioset; python "$here/audioset_shaped.py" "$bank" audioset; }

run() { # prints a command and what it prints
  printf '\n$ %s\n' "$*"
  "$@"
}
resume=()
[ -e run/run.json ] && resume=(--resume)

run du -sh audioset
run earmark doctor parquet:audioset/data --out doctor --quiet
run earmark pack clips:doctor/clean.txt packed --sample-rate 16000 2> >(grep -v "row groups" >&2)
run du -sh packed
run earmark pack packed --check --quiet
run earmark train parquet:packed --split balanced_train --out run --config small --n-clips-seen 24000 --quiet "${resume[@]}"
run earmark evaluate run/last.safetensors parquet:packed --split eval --out report --quiet
run earmark paper table2 --report report/report.json
