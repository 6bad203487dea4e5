"""Made-up released features with strong labels, and a protocol that takes seconds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.audioset_poolings.cells import BASE
from experiments.audioset_poolings.clips import BY_FREQUENCY, BY_LENGTH, Places
from experiments.audioset_poolings.comparisons import Results
from experiments.audioset_poolings.lines import Line
from experiments.audioset_poolings.measures import figures_of
from experiments.audioset_poolings.plan import Protocol, figures_file
from experiments.audioset_poolings.runs import Bench
from tests.tfrecords import released_clips, write_features

TINY = replace(BASE, perceptron_layers=1, perceptron_width=8, batch_size=16)
EVENTS = """video_id\tonset\toffset\tevent_label\tlabel_ids\tsource
{long}\t0.0\t5.0\tSpeech\t/m/09x0r\thome
{long}\t8.0\t9.9\tTalk\t/m/05zppz;/m/02zsn\thome
{short}\t0.1\t0.5\tSpeech\t/m/09x0r\thome
{short}\t1.0\t1.5\tTalk\t/m/05zppz;/m/02zsn\thome
{other}\t0.0\t9.0\tSpeech\t/m/09x0r\tstreet
{another}\t1.0\t10.0\tSpeech\t/m/09x0r\tstreet
unknown\t0.0\t0.5\tSpeech\t/m/09x0r\thome
"""


TARGET = np.random.default_rng(0).random((150, 6)) < 0.3
GROUPS = {
    f"{BY_FREQUENCY}rare": np.arange(4),
    f"{BY_FREQUENCY}frequent": np.arange(4, 6),
    f"{BY_LENGTH}short": np.array([0, 5]),
}


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """60 training clips, 40 test clips and the events of four of these by two sources."""
    root = tmp_path_factory.mktemp("audioset")
    write_features(root / "bal_train", released_clips(60, seed=0), per_file=30)
    test = released_clips(40, seed=1)
    write_features(root / "eval", test, per_file=20)
    long, short, other, another = (test[number][0] for number in (9, 4, 19, 29))
    (root / "strong.tsv").write_text(EVENTS.format(long=long, short=short, other=other, another=another))
    listed = [
        (long, "home"),
        (short, "home"),
        (test[8][0], "home"),
        (other, "street"),
        (another, "street"),
        ("unknown", "home"),
    ]
    (root / "strong_clips.tsv").write_text("video_id\tsource\n" + "".join(f"{a}\t{b}\n" for a, b in listed))
    return Places(root, strong=root)


@pytest.fixture
def protocol() -> Protocol:
    return Protocol(
        base=TINY,
        common={"short": {"passes": 1}, "long": {"passes": 2}},
        common_cells=("mean", "gmap"),
        trials={"slow": {"learning_rate": 1e-4}, "fast": {"learning_rate": 0.02}},
        systems={},
        valid_share=0.3,
        n_resamples=10,
        n_seeds_first=1,
        n_seeds=1,
    )


@pytest.fixture
def bench(tmp_path: Path, places: Places, protocol: Protocol) -> Bench:
    return Bench(tmp_path / "out", places, protocol)


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
