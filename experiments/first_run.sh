#!/usr/bin/env bash
# The main job on real recordings: soundscapes from ESC-50, GMAP and mean pooling on the same budget, measured on fold 5.
#
#   results/first_run.sh ESC-50-FOLDER WORK-FOLDER
#
# Some two hours on 2 cores. Interrupted, the same command goes on: finished parts are skipped, runs resume.
# Afterwards `python results/first_run.py WORK-FOLDER` writes results/first-run.md.
set -euo pipefail
bank="esc50:$(realpath "$1")"
mkdir -p "$2" && cd "$2"

mix() { # name, splits, clips, seed, labels
  earmark soundscapes "$bank" "$1" --split "$2" --n-clips "$3" --seed "$4" --event-duration 0.4 2.0 \
    --sample-rate 16000 ${5:+--labels "$5"}
}
learn() { # labels, pooling, clips seen, clips an epoch, name
  local run="runs/$5" resume=()
  [ -e "$run/run.json" ] && resume=(--resume)
  earmark train "soundscapes:$1-train" --valid "soundscapes:$1-test" --out "$run" --pooling "$2" \
    --sample-rate 16000 --width 16 --n-clips-seen "$3" --clips-per-epoch "$4" --batch-size 16 --learning-rate 2e-3 \
    --mixup-alpha 0 --no-spec-augment --block-dropout 0 --dropout 0.2 --seed 0 "${resume[@]}"
  earmark evaluate "$run/last.safetensors" "soundscapes:$1-test" --out "reports/$5"
}

mix esc10-train 1,2,3 12000 1 esc10
mix esc10-test 5 1000 2 esc10
mix esc50-train 1,2,3 8000 1
mix esc50-test 5 1000 2
for pooling in gmap mean; do
  learn esc10 "$pooling" 24000 4800 "esc10-$pooling"
  for budget in 12000 36000; do
    learn esc50 "$pooling" "$budget" 4000 "esc50-$pooling-$budget"
  done
done
