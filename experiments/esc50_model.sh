#!/usr/bin/env bash
# The shipped model again: trained on ESC-50's folds 1 to 3, calibrated and measured on fold 5; then, with the recipe
# fixed, trained once more on all four folds, with the calibration of the first, since no fold is left to fit one to.
#
#   results/esc50_model.sh ESC-50-FOLDER WORK-FOLDER
#
# Two and a half to four hours on one processor core with bf16 instructions, nearly all of it the trainings, which go on
# where they stopped when the command is repeated. Leaves WORK-FOLDER/three-folds.safetensors, the model that the figures
# are of, WORK-FOLDER/earmark-esc50.safetensors, the one that ships, and, beside this script, the page esc50-model.md and the folder esc50-model.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
bank="$(realpath "$1")"
mkdir -p "$2" && cd "$2"

mix() { # name, seed, shortest and longest event
  earmark soundscapes "esc50:$bank" "$1" --split 5 --n-clips "$5" --seed "$2" --event-duration "$3" "$4" --sample-rate 16000
}

train() { # folder of the run, splits, more
  local resume=()
  [ -e "$1/run.json" ] && resume=(--resume)
  earmark train "esc50:$bank" --out "$1" --split "$2" "${@:3}" --config esc50 "${resume[@]}"
}

train run 1,2,3 --valid-split 5
mix dense5 5 1 4 300
mix sparse5 6 0.3 1 300
mix mixed5 7 0.3 4 600
earmark calibrate run/last.safetensors "esc50:$bank" soundscapes:mixed5 --split 5 --out three-folds.safetensors | tee "$here/esc50-model/calibrate.txt"
python "$here/esc50_model.py" run/last.safetensors "$bank" --soundscapes sparse5 dense5 --name "earmark-esc50, before calibration,"
cp run/metrics.csv run/run.json "$here/esc50-model/"
train final 1,2,3,5
earmark calibrate final/last.safetensors --like three-folds.safetensors --out earmark-esc50.safetensors
cp final/metrics.csv "$here/esc50-model/final-metrics.csv"
cp final/run.json "$here/esc50-model/final-run.json"
