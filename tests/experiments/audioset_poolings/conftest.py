"""Made-up finished runs."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.audioset_poolings.clips import BY_FREQUENCY, BY_LENGTH
from experiments.audioset_poolings.comparisons import Results
from experiments.audioset_poolings.lines import Line
from experiments.audioset_poolings.measures import figures_of
from experiments.audioset_poolings.plan import figures_file

TARGET = np.random.default_rng(0).random((150, 6)) < 0.3
GROUPS = {
    f"{BY_FREQUENCY}rare": np.arange(4),
    f"{BY_FREQUENCY}frequent": np.arange(4, 6),
    f"{BY_LENGTH}short": np.array([0, 5]),
}


@pytest.fixture
def line_of():
    """A made-up finished run."""

    def line(cell, seed=0, mAP=0.5, stage="final", variant="", **values):
        made = Line(
            stage=stage,
            cell=cell,
            variant=variant,
            seed=seed,
            settings={"pooling": cell, "perceptron_layers": 2},
            config_sha256="c0ffee",
            commit="0123456789abcdef",
            earmark="0.0",
            machine="abacus",
            n_beside=2,
            n_parameters=1234,
            n_clips_seen=60,
            n_steps=4,
            seconds=5.0,
            cpu_seconds=4.0,
            n_clips=40,
            ids_sha256="feed" * 16,
            mAP=mAP,
            mAUC=0.75,
            d_prime=0.954,
        )
        return replace(made, **values)

    return line


@pytest.fixture
def results_of(tmp_path, line_of):
    """Made-up final runs: from the quality and the number of seeds of each cell."""

    def made(cells: dict[str, tuple[float, int]]) -> Results:
        lines = []
        for number, (cell, (quality, n_seeds)) in enumerate(cells.items()):
            for seed in range(n_seeds):
                noise = np.random.default_rng((number, seed)).standard_normal(TARGET.shape)
                figures = figures_of(TARGET, (quality * TARGET + noise).astype(np.float32), GROUPS, 200)
                figures.save(figures_file(tmp_path, cell, seed))
                mAP = float(np.average(figures.mAP[:2], weights=figures.n_labels[:2]))
                localisation = {f"{name}-{w}": quality / 10 for name in ("PSDS1", "PSDS2", "F1") for w in (1, 3)}
                lines.append(line_of(cell, seed, mAP, localisation=localisation))
        return Results(tmp_path, tuple(lines))

    return made
