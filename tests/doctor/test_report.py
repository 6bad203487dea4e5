"""The report on a data set with every kind of fault."""

import csv
import json
from dataclasses import replace

from earmark.data import open_data
from earmark.doctor.checkup import doctor
from earmark.doctor.kinds import KINDS

RATE = 16000


def test_a_data_set_with_everything_wrong(tmp_path, files, found, wrong_data):
    data = wrong_data(tmp_path / "data")
    report = doctor(open_data(data, lenient=True), data, tmp_path / "report", n_jobs=2)
    assert report.clean_ids == ["dog1.wav", "dog3.wav", "square.wav", "long.wav@1.5"]
    assert found(report) == set(KINDS) - {"outside", "warned"}
    assert set(files(tmp_path / "report")) == {"report.json", "clips.csv", "clean.txt"}
    told = json.loads((tmp_path / "report" / "report.json").read_text())
    assert told == report.to_json()
    assert told["coverage"].items() >= {"listed": 16, "found": 15, "missing": 1, "share": 0.9375}.items()
    assert told["clips"]["sample_rates"] == {"16000": 9, "44100": 1}
    assert told["clips"]["below_32_khz"] == 0.9
    assert told["clips"]["channels"] == {"1": 8, "2": 2}
    bars = {bar["from"]: bar["n"] for bar in told["clips"]["durations"] if bar["n"]}
    assert bars == {0.0: 1, 0.2: 1, 0.5: 1, 1.0: 7}
    assert {finding["kind"]: finding["n"] for finding in told["findings"]}["unreadable"] == 5
    assert told["labels"][0] == {"label": "dog", "n_clips": 2, "splits": {"test": 1, "train": 1}}
    assert told["clean"]["n_clips"] == 4
    assert str(tmp_path) not in json.dumps(told)
    clean = open_data(f"clips:{tmp_path / 'report' / 'clean.txt'}")
    assert [clip.id for clip in clean] == report.clean_ids
    assert clean.clip_ids_sha256() == told["clean"]["clip_ids_sha256"]
    assert clean[1] == replace(open_data(data, lenient=True)[2], audio=clean[1].audio)


def test_the_facts_of_each_clip_as_a_table(tmp_path, wrong_data):
    data = wrong_data(tmp_path / "data")
    report = doctor(open_data(data, lenient=True), data, tmp_path / "report", n_jobs=1)
    rows = {row["id"]: row for row in csv.DictReader((tmp_path / "report" / "clips.csv").open())}
    assert len(rows) == report.n_listed
    assert [id_ for id_, row in rows.items() if row["status"] == "clean"] == report.clean_ids
    duplicate = rows["rain2.flac"]
    assert (duplicate["status"], duplicate["findings"]) == ("left-out", "duplicate;contradicting")
    assert (duplicate["seconds"], duplicate["sample_rate"], duplicate["n_channels"]) == ("1.0", "16000", "2")
    assert duplicate["sha256"] == rows["rain1.wav"]["sha256"]
    assert rows["silent.wav"]["peak_dbfs"] == "-inf"
    assert (rows["text.wav"]["status"], rows["text.wav"]["sha256"]) == ("unreadable", "")
    assert rows["text.wav"]["reason"].startswith("cannot be read as audio")
    assert (rows["gone.wav"]["status"], rows["gone.wav"]["findings"]) == ("missing", "missing")


def test_a_report_without_clean_clips(tmp_path, files):
    (tmp_path / "data" / "dog").mkdir(parents=True)
    (tmp_path / "data" / "dog" / "a.wav").write_text("no sound")
    data = f"folder:{tmp_path / 'data'}"
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "clean.txt").write_text("of an earlier report")
    report = doctor(open_data(data), data, tmp_path / "report", n_jobs=1)
    assert report.clean_ids == []
    assert set(files(tmp_path / "report")) == {"report.json", "clips.csv"}
    told = json.loads((tmp_path / "report" / "report.json").read_text())
    assert told["clips"].items() >= {"readable": 0, "seconds": 0.0, "median": None, "below_32_khz": None}.items()
