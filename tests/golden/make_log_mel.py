"""Writes log_mel.json: librosa's log-mel of two fixed signals, for tests/test_frontend.py.

Run in an environment of its own (librosa is 480 MB and no dependency of earmark):

    python -m venv golden-env && golden-env/bin/pip install librosa
    golden-env/bin/python tests/golden/make_log_mel.py
"""

import json
from pathlib import Path

import librosa
import numpy as np


def signal(sample_rate: int) -> np.ndarray:
    """Half a second: a rising chirp, a click, a quiet tone, then nothing."""
    time = np.arange(sample_rate // 2) / sample_rate
    sweep = 0.5 * np.sin(2 * np.pi * (200 * time + 6000 * time**2)) * (time < 0.3)
    click = (np.arange(len(time)) == sample_rate // 5).astype(float)
    tone = 0.001 * np.sin(2 * np.pi * 997 * time) * (time > 0.25) * (time < 0.4)
    return (sweep + 0.8 * click + tone).astype(np.float32)


def main() -> None:
    golden = {"librosa": librosa.__version__}
    for sample_rate, n_fft, hop, f_max in ((32000, 1024, 800, 14000), (16000, 512, 400, 8000)):
        power = librosa.feature.melspectrogram(
            y=signal(sample_rate),
            sr=sample_rate,
            n_fft=n_fft,
            hop_length=hop,
            n_mels=64,
            fmin=50,
            fmax=f_max,
            center=True,
            pad_mode="reflect",
            power=2.0,
            htk=False,
            norm="slaney",
        )
        log_mel = librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None).T[:-1]
        golden[str(sample_rate)] = np.round(log_mel.astype(float), 5).tolist()
    (Path(__file__).parent / "log_mel.json").write_text(json.dumps(golden))


if __name__ == "__main__":
    main()
