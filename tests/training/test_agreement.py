"""Agreement of a student with its teacher."""

import numpy as np
import pytest
import torch

from earmark.labels import LabelSet
from earmark.model.frontend import FrontendConfig
from earmark.model.network import Network, NetworkConfig
from earmark.training.agreement import agreement, compared
from earmark.training.teacher import Teacher, TeacherConfig
from tests.training.tones import LABELS, tones, with_broken


def test_agreement_counts_what_the_teacher_finds():
    labels = LabelSet(("a", "b", "c"))
    teacher = np.array([[0.9, 0.1, 0.1], [0.2, 0.6, 0.1], [0.7, 0.1, 0.1], [0.1, 0.1, 0.1]], np.float32)
    student = np.array([[0.8, 0.1, 0.1], [0.5, 0.6, 0.1], [0.3, 0.1, 0.1], [0.1, 0.1, 0.1]], np.float32)
    found = compared(teacher, student, labels, 0.5)
    assert (found.n_clips, found.n_labels) == (4, 2)
    assert found.mAP == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2)
    assert found.mean_absolute_difference == pytest.approx(0.8 / 12)
    assert [label.n_positive for label in found.labels] == [2, 1, 0]
    assert found.labels[0].mean_absolute_difference == pytest.approx(0.2)
    rows = found.to_json()["labels"]
    assert rows[2]["average_precision"] is None and rows[1]["label"] == "b"


def test_a_teacher_agrees_with_itself(tmp_path):
    torch.manual_seed(0)
    network = Network(NetworkConfig(FrontendConfig.at_16k(), width=2, n_heads=2), LABELS).eval()
    network.save(tmp_path / "t.safetensors")
    teacher = Teacher(TeacherConfig((str(tmp_path / "t.safetensors"),)))
    data = with_broken(tones(n_clips=6), 1)
    shown = []
    found = agreement(
        network, data, teacher, tmp_path / "s.jsonl", threshold=0.4, progress=lambda *counts: shown.append(counts)
    )
    assert found.n_clips == 6 and found.mean_absolute_difference < 1e-3
    assert shown[-1] == (7, 7)
    kept = (tmp_path / "s.jsonl").read_text()
    again = agreement(network, data, teacher, tmp_path / "s.jsonl", threshold=0.4)
    assert again == found and (tmp_path / "s.jsonl").read_text() == kept
