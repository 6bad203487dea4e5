#!/usr/bin/env bash
# The shipped model again: trained on ESC-50's folds 1 to 3, calibrated and measured on fold 5.
#
#   results/esc50_model.sh ESC-50-FOLDER WORK-FOLDER
#
# Two hours on one processor core with bf16 instructions, nearly all of it the training, which goes on where it stopped when the command is repeated.
# Leaves WORK-FOLDER/earmark-esc50.safetensors and, beside this script, the page esc50-model.md and the folder esc50-model.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
bank="$(realpath "$1")"
mkdir -p "$2" && cd "$2"

mix() { # name, seed, shortest and longest event
  earmark soundscapes "esc50:$bank" "$1" --split 5 --n-clips "$5" --seed "$2" --event-duration "$3" "$4" --sample-rate 16000
}

resume=()
[ -e run/run.json ] && resume=(--resume)
earmark train "esc50:$bank" --split 1,2,3 --valid-split 5 --out run --config esc50 "${resume[@]}"
mix dense5 5 1 4 300
mix sparse5 6 0.3 1 300
mix mixed5 7 0.3 4 600
earmark calibrate run/last.safetensors "esc50:$bank" soundscapes:mixed5 --split 5 --out earmark-esc50.safetensors | tee "$here/esc50-model/calibrate.txt"
python "$here/esc50_model.py" run/last.safetensors "$bank" --soundscapes sparse5 dense5 --name "earmark-esc50, before calibration,"
cp run/metrics.csv run/run.json "$here/esc50-model/"
