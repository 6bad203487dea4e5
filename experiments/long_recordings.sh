#!/usr/bin/env bash
# How long recordings are best scored: soundscapes of 10 s to 10 minutes of ESC-50's fold 5, tagged in several ways.
#
#   results/long_recordings.sh ESC-50-FOLDER WORK-FOLDER MODEL
#
# MODEL must not know fold 5, such as three-folds.safetensors, which results/esc50_model.sh makes.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
bank="$(realpath "$1")"
model="$(realpath "$3")"
mkdir -p "$2" && cd "$2"

mix() { # seconds, how many, fewest and most events
  earmark soundscapes "esc50:$bank" "long$1" --split 5 --n-clips "$2" --seed 11 --duration "$1" --n-events "$3" "$4" \
    --event-duration 0.5 4 --sample-rate 16000 --quiet
}

mix 10 300 1 3
mix 20 200 1 4
mix 60 150 1 6
mix 180 60 2 10
mix 600 24 4 16
python "$here/long_recordings.py" "$model" long10 long20 long60 long180 long600
