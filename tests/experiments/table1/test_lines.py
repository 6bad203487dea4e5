"""Lines of finished runs survive the death of the program."""

import json

import pytest

from earmark.errors import DataError
from experiments.table1.lines import append_line, done_runs, read_lines


def test_lines_are_read_as_written(tmp_path, line_of):
    path = tmp_path / "table" / "runs.jsonl"
    assert read_lines(path) == []
    lines = [line_of("sparse", "gmap", 0), line_of("sparse", "max", 0, mAP=None, d_prime=None)]
    for line in lines:
        append_line(path, line)
    assert read_lines(path) == lines
    assert read_lines(path)[0].run == ("sparse", "gmap", 0)


def test_a_line_has_the_agreed_entries(line_of):
    agreed = (
        "difficulty cell seed profile config config_sha256 commit earmark machine n_parameters n_clips_seen "
        "clips_per_second seconds seconds_per_step best_epoch valid_mAP n_test_clips test_ids_sha256 mAP mAUC d_prime"
    )
    assert set(agreed.split()) <= set(line_of("sparse", "gmap", 0).to_json())


def test_infinite_and_nan_values_are_null(line_of):
    line = line_of("sparse", "gmap", 0, d_prime=float("inf"), mAUC=float("nan"))
    assert json.loads(json.dumps(line.to_json(), allow_nan=False))["d_prime"] is None


def test_a_truncated_line_is_ignored_and_replaced(tmp_path, line_of):
    path = tmp_path / "runs.jsonl"
    append_line(path, line_of("sparse", "gmap", 0))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:50])
    assert len(read_lines(path)) == 1
    append_line(path, line_of("sparse", "gmap", 1))
    assert [line.seed for line in read_lines(path)] == [0, 1]
    assert len(path.read_bytes().splitlines()) == 2


def test_the_later_of_two_lines_of_a_run_counts(tmp_path, line_of):
    path = tmp_path / "runs.jsonl"
    for mAP in (0.1, 0.2):
        append_line(path, line_of("sparse", "gmap", 0, mAP=mAP))
    assert [line.mAP for line in read_lines(path)] == [0.2]


@pytest.mark.parametrize("text", ["{", "[1]", '{"cell": "gmap"}', '{"colour": "red"}', "null"])
def test_a_damaged_line_is_reported_with_its_number(tmp_path, line_of, text):
    path = tmp_path / "runs.jsonl"
    append_line(path, line_of("sparse", "gmap", 0))
    path.write_text(path.read_text() + text + "\n")
    with pytest.raises(DataError, match="line 2: damaged"):
        read_lines(path)


def test_a_run_is_finished_if_its_scores_exist(line_of, tmp_path):
    with_scores, without = line_of("sparse", "gmap", 0), line_of("sparse", "gmap", 1)
    scores = with_scores.run.scores(tmp_path)
    scores.parent.mkdir(parents=True)
    scores.touch()
    assert done_runs(tmp_path, [with_scores, without]) == {with_scores.run}
    assert done_runs(tmp_path, []) == set()
