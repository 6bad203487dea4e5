"""The HTTP interface: results, forms of uploads, and what it refuses."""

import base64
import errno
import io
import socket
import struct
import threading
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient

from earmark.annotations.formats import FORMATS
from earmark.errors import ConfigError
from earmark.inference.merged_calls import MergedCalls
from earmark.inference.tagger import Tagger
from earmark.serve.access import check_open
from earmark.serve.application import application
from earmark.serve.description import OPERATIONS
from earmark.serve.pyramid import SAMPLE_RATE
from earmark.serve.settings import ServeSettings
from earmark.serve.uploads import label


def private_files(client):
    """Files of uploads that the server has now."""
    return [path for path in Path(client.app.state.server.shelf._root.name).rglob("*") if path.is_file()]


def ready(client, sound, name="sound.wav"):
    """Id of a held recording, once it can be shown."""
    answer = client.post("/api/recordings", params={"name": name}, content=sound)
    assert answer.status_code == 201
    while (state := client.get(f"/api/recordings/{answer.json()['id']}").json())["state"] == "decoding":
        pass
    return state


def answer_after_removal(client, asked, begun, goes_on):
    """The answer to a timeline whose recording is removed once the work has `begun`; `goes_on` then lets it go on."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(client.post("/api/timeline", params=asked)))
    thread.start()
    begun.wait()
    assert client.delete(f"/api/recordings/{asked['recording']}").status_code == 204
    goes_on.set()
    thread.join()
    return answers[0]


class TestResults:
    def test_tags_have_the_schema_of_hugging_face(self, client, sound):
        tags = client.post("/api/tag", content=sound).json()
        assert [tag["label"] for tag in tags] == ["low", "high", "never"]
        assert tags[0].keys() == {"label", "score"} and 0 < tags[0]["score"] < 1

    @pytest.mark.parametrize("form", ["body", "multipart", "json"])
    def test_a_recording_comes_in_any_form(self, client, sound, form):
        encoded = {
            "inputs": base64.b64encode(sound).decode(),
            "parameters": {"top_k": 1, "function_to_apply": "sigmoid"},
        }
        given = {
            "body": {"content": sound},
            "multipart": {"files": {"file": ("a.wav", sound)}},
            "json": {"json": encoded},
        }
        tags = client.post("/api/tag" if form == "json" else "/api/tag?top_k=1", **given[form]).json()
        assert [tag["label"] for tag in tags] == ["low"]

    def test_results_equal_those_of_the_tagger(self, client, sound, tmp_path, mean_engine):
        path = tmp_path / "same.wav"
        path.write_bytes(sound)
        tagger = Tagger(mean_engine())
        expected = tagger.timeline(path, window=0.8)
        timeline = client.post("/api/timeline?window=0.8", content=sound).json()
        np.testing.assert_allclose(timeline["scores"], expected.scores, atol=1e-6)
        assert timeline["duration"] == expected.duration and timeline["labels"] == ["low", "high", "never"]
        events = client.post("/api/events?window=0.8&threshold=0.6", content=sound).json()["events"]
        assert events == [
            {"label": event.label, "onset": event.onset, "offset": event.offset, "score": round(event.score, 6)}
            for event in expected.events(0.6)
        ]
        evidence = client.post("/api/evidence?label=/l", content=sound).json()
        np.testing.assert_allclose(evidence["weights"], tagger.evidence(path, "low").weights, atol=1e-6)
        assert evidence["label"] == "low" and len(evidence["attention"]) == 2
        embedding = client.post("/api/embed", content=sound).json()["embedding"]
        np.testing.assert_allclose(embedding, tagger.embed(path), atol=1e-6)

    def test_requests_at_the_same_time_share_a_batch(self, open_client, sound, mean_engine, wait_until):
        sizes, goes_on = [], threading.Event()

        class Merging(mean_engine):
            batch_size = 3

            def __init__(self):
                super().__init__()
                self.merged = MergedCalls(self.run, self.batch_size)

            def run(self, waveforms):
                sizes.append(len(waveforms))
                goes_on.wait()
                return super().encode(waveforms)

            def encode(self, waveforms):
                return self.merged(waveforms)

        engine = Merging()
        client = open_client(engine, jobs=4)
        with ThreadPoolExecutor(3) as pool:
            answers = []
            for number in range(3):
                answers.append(pool.submit(client.post, "/api/tag", content=sound))
                wait_until(lambda number=number: len(sizes) == 1 and len(engine.merged._waiting) == number)
            goes_on.set()
            results = [answer.result().json() for answer in answers]
        assert sizes == [1, 2], "those that arrived during the first call are one batch"
        assert results[0] == results[1] == results[2] and results[0][0]["label"] == "low"

    def test_a_request_chooses_among_the_models_by_name(self, sound, mean_engine):
        taggers = {"first": Tagger(mean_engine()), "second": Tagger(mean_engine(thresholds=(0.9, 0.9, 0.9)))}
        with TestClient(application(taggers, ServeSettings()), base_url="http://localhost") as client:
            assert [model["name"] for model in client.get("/api/models").json()["models"]] == ["first", "second"]
            by_model = {
                name: client.post("/api/events", params={"model": name}, content=sound).json() for name in taggers
            }
            assert client.post("/api/events", content=sound).json() == by_model["first"]
        assert by_model["second"]["model"] == "second"
        assert len(by_model["second"]["events"]) < len(by_model["first"]["events"])

    def test_labels_that_score_low_can_be_left_out_of_a_timeline(self, client, sound):
        assert client.post("/api/timeline?least=0.6", content=sound).json()["labels"] == ["low"]

    def test_labels_may_have_thresholds_of_their_own(self, client, sound):
        answer = client.post("/api/events?context=0&threshold=low:1&threshold=never:0", content=sound).json()
        assert {event["label"] for event in answer["events"]} == {"high", "never"}

    def test_models_are_described(self, client):
        answer = client.get("/api/models").json()
        assert answer["models"][0]["labels"] == ["low", "high", "never"]
        assert answer["limits"] == {"max_size": 512.0, "max_duration": 7200.0}

    def test_measures_count_requests_and_sound(self, open_client, sound):
        client = open_client()
        client.post("/api/tag", content=sound)
        client.get("/nonsense")
        text = client.get("/metrics").text
        assert 'earmark_requests_total{path="api/tag",status="200"} 1.0' in text
        assert 'earmark_requests_total{path="page",status="404"} 1.0' in text
        assert "earmark_audio_seconds_total 4.0" in text and "earmark_waiting 0.0" in text
        assert client.get("/healthz").json() == {"status": "ok"}

    def test_the_description_covers_every_path_and_parameter(self, client):
        described = client.get("/api/openapi.json").json()
        operations = {(method.upper(), path) for path, methods in described["paths"].items() for method in methods}
        assert operations == {(entry.method, entry.path) for entry in OPERATIONS}
        parameters = {entry["name"]: entry for entry in described["paths"]["/api/events"]["post"]["parameters"]}
        assert {"model", "recording", "window", "hop", "threshold", "release"} <= parameters.keys()
        assert all(entry["description"] for entry in parameters.values())
        assert parameters["window"]["schema"] == {
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": 3600,
            "default": 0.8,
        }


class TestHeldRecordings:
    def test_a_recording_is_uploaded_and_encoded_once(self, open_client, sound, mean_engine):
        engine = mean_engine()
        client = open_client(engine)
        state = ready(client, sound)
        asked = {"recording": state["id"]}
        assert client.post("/api/tag", params=asked).json()[0]["label"] == "low"
        assert client.post("/api/timeline", params=asked).json()["name"] == "sound.wav"
        assert client.post("/api/evidence", params={**asked, "label": "low"}).status_code == 200
        assert engine.n_encoded == 1

    def test_its_sound_counts_once_for_each_model(self, sound, mean_engine):
        taggers = {name: Tagger(mean_engine()) for name in ("first", "second")}
        with TestClient(application(taggers, ServeSettings()), base_url="http://localhost") as client:
            asked = {"recording": ready(client, sound)["id"]}
            for model, seconds in (("first", 4), ("first", 4), ("second", 8)):
                assert client.post("/api/tag", params={**asked, "model": model}).status_code == 200
                assert f"earmark_audio_seconds_total {seconds:.1f}\n" in client.get("/metrics").text

    def test_its_sound_and_spectrogram_are_shown(self, client, sound, tmp_path):
        state = ready(client, sound)
        address = f"/api/recordings/{state['id']}"
        answer = client.get(f"{address}/audio")
        with wave.open(io.BytesIO(answer.content)) as file:
            assert (file.getframerate(), file.getnframes()) == (32000, 4 * 32000)
        assert client.get(f"{address}/audio", headers={"Range": "bytes=0-9"}).content == answer.content[:10]
        drawn = state["spectrogram"]
        tile = np.frombuffer(client.get(f"{address}/spectrogram/0/0").content, np.uint8).reshape(-1, drawn["n_mels"])
        assert len(tile) == pytest.approx(4 * drawn["columns_per_second"], abs=1)
        for path in ("spectrogram/0/1", "spectrogram/9/0", "spectrogram/0/999999999999", f"spectrogram/0/{'9' * 5000}"):
            assert client.get(f"{address}/{path}").status_code == 404

    def test_it_is_removed_on_request_and_by_time_and_room(self, open_client, sound, wait_until, monkeypatch):
        client = open_client(max_held=0.5)
        first, second = ready(client, sound), ready(client, sound)
        client.app.state.server.shelf.tidy()
        assert client.get(f"/api/recordings/{first['id']}").status_code == 404  # each takes 0.3 MB
        assert client.delete(f"/api/recordings/{second['id']}").status_code == 204
        assert client.post("/api/tag", params={"recording": second["id"]}).status_code == 404
        assert private_files(client) == []
        monkeypatch.setattr("earmark.serve.recordings._MOST_HELD", 1)
        client = open_client()
        first, second = ready(client, sound), ready(client, sound)
        assert client.get(f"/api/recordings/{first['id']}").status_code == 404
        assert client.get(f"/api/recordings/{second['id']}").status_code == 200
        client = open_client(hold=1e-9)
        client.post("/api/recordings", content=sound)
        client.app.state.server.shelf.tidy()
        wait_until(lambda: private_files(client) == [])

    def test_work_on_a_removed_one_ends_with_one_line(self, open_client, sound, mean_engine):
        begun, goes_on = threading.Event(), threading.Event()

        class Waiting(mean_engine):
            def encode(self, waveform):
                begun.set()
                goes_on.wait()
                return super().encode(waveform)

        client = open_client(Waiting())
        answer = answer_after_removal(client, {"recording": ready(client, sound)["id"]}, begun, goes_on)
        assert answer.status_code == 503 and "the recording was removed" in answer.json()["error"]

    def test_scores_over_time_stop_with_it(self, open_client, sound, mean_engine):
        begun, goes_on = threading.Event(), threading.Event()

        class Waiting(mean_engine):
            n_classified = 0

            def classify(self, segments, mask=None):
                self.n_classified += 1
                begun.set()
                goes_on.wait()
                return super().classify(segments, mask)

        engine = Waiting()
        client = open_client(engine)
        # two calls: one for the windows, and one for their contexts
        asked = {"recording": ready(client, sound)["id"], "window": 0.4, "context": 2}
        answer = answer_after_removal(client, asked, begun, goes_on)
        assert (answer.status_code, engine.n_classified) == (503, 1)

    def test_a_failure_of_the_server_ends_the_wait_for_it(self, client, sound, monkeypatch, caplog):
        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("earmark.serve.recordings.Pyramid.of", full)
        state = ready(client, sound)
        assert state["state"] == "failed" and "the server failed" in state["error"] and "No space" in caplog.text

    def test_rows_that_would_fill_the_memory_are_refused(self, open_client, sound, monkeypatch):
        monkeypatch.setattr("earmark.serve.routes._MOST_SCORES", 100)
        client = open_client()
        n_labels = len(client.get("/api/models").json()["models"][0]["labels"])
        answer = client.post("/api/timeline?hop=0.01", content=sound)
        assert answer.status_code == 400
        assert (
            answer.json()["error"]
            == f"hop: at least {4 * n_labels / 100:g} s was expected for this recording, not 0.01"
        )
        assert client.post("/api/timeline", content=sound).status_code == 200

    def test_timelines_of_all_recordings_have_one_limit(self, open_client, sound, mean_engine, monkeypatch):
        class Counting(mean_engine):
            n_classified = 0

            def classify(self, segments, mask=None):
                self.n_classified += 1
                return super().classify(segments, mask)

        def n_computed(client, engine):
            ids = [ready(client, sound)["id"] for _ in range(2)]
            for recording in (*ids, *ids):
                assert client.post("/api/events?context=0", params={"recording": recording}).status_code == 200
            return engine.n_classified

        engine = Counting()
        n_of_both = n_computed(open_client(engine), engine)
        monkeypatch.setattr("earmark.serve.recordings._TIMELINE_BYTES", 1)
        engine = Counting()
        assert n_computed(open_client(engine), engine) == 2 * n_of_both

    def test_one_that_cannot_be_read_says_why(self, client):
        state = ready(client, b"no sound" * 100, "../../etc/passwd")
        assert state["state"] == "failed" and state["error"].startswith("passwd: cannot be read")
        answer = client.get(f"/api/recordings/{state['id']}/audio")
        assert (answer.status_code, answer.json()["error"]) == (422, state["error"])


class TestUploads:
    def test_nothing_is_left_of_a_request(self, open_client, sound):
        client = open_client()
        client.post("/api/tag", content=sound)
        client.post("/api/tag", content=b"no sound")
        assert private_files(client) == []

    def test_uploads_are_kept_on_request_under_names_of_the_server(self, open_client, sound, tmp_path):
        client = open_client(keep=tmp_path / "kept")
        client.post("/api/tag", files={"file": ("../../evil.wav", sound)})
        (kept,) = (tmp_path / "kept").iterdir()
        assert kept.suffix == ".wav" and "evil" not in kept.name and kept.read_bytes() == sound

    def test_a_copy_that_cannot_be_completed_is_not_kept(self, open_client, sound, tmp_path, monkeypatch):
        def full(source, target):
            Path(target).write_bytes(sound[:100])
            raise OSError(errno.ENOSPC, "No space left on device")

        client = open_client(keep=tmp_path / "kept")
        client._transport.raise_server_exceptions = False
        monkeypatch.setattr("earmark.serve.recordings.shutil.copyfile", full)
        assert client.post("/api/tag", content=sound).status_code == 500
        assert list((tmp_path / "kept").iterdir()) == [] == private_files(client)

    @pytest.mark.parametrize("name", ["../../etc/passwd", "..\\..\\x", "a\0b\nc", "..", "", "/", "x" * 9999])
    def test_a_file_name_is_a_label(self, client, name):
        assert not set(label(name)) & set("/\\\0\n") and 0 < len(label(name)) <= 120 and label(name) != ".."

    def test_an_error_names_the_upload_and_no_path(self, client):
        answer = client.post("/api/tag", files={"file": ("bark.wav", b"no sound")})
        assert answer.status_code == 422
        assert answer.json()["error"].startswith("bark.wav: cannot be read as audio") and "/tmp" not in answer.text


class TestRefusals:
    @pytest.mark.parametrize(
        ("path", "status", "words"),
        [
            ("/api/tag?top_k=0", 400, "top_k: at least 1"),
            ("/api/tag?top_k=many", 400, "top_k: a whole number"),
            ("/api/tag?color=red", 400, "color: one of the parameters model, name,"),
            ("/api/tag?model=/etc/passwd", 400, "model: one of mean was expected"),
            ("/api/tag?recording=../../x", 404, "no recording has this id"),
            ("/api/timeline?window=nan", 400, "window: a finite number"),
            ("/api/timeline?window=0.001", 400, "window: at least 0.4 s"),
            ("/api/timeline?hop=1e-9", 400, "hop: at least 0.01"),
            ("/api/events?threshold=2", 400, "threshold"),
            ("/api/events?threshold=cat:0.5", 400, "cat"),
            ("/api/evidence", 400, "label: a value was expected"),
            ("/api/evidence?label=unicorn", 400, "unicorn"),
        ],
    )
    def test_invalid_parameters_are_refused_in_one_line(self, client, sound, path, status, words):
        answer = client.post(path, content=sound)
        assert answer.status_code == status
        assert words in answer.json()["error"] and "\n" not in answer.json()["error"]

    @pytest.mark.parametrize(
        ("given", "status"),
        [
            ({"content": b""}, 400),
            ({"json": {"audio": 1}}, 400),
            ({"json": {"inputs": "%%%"}}, 400),
            ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400),
            ({"content": b"[" * 100_000, "headers": {"Content-Type": "application/json"}}, 400),
            ({"content": b'"' + bytes(16_000_000), "headers": {"Content-Type": "application/json"}}, 413),
            ({"data": {"a": "b"}, "files": {}}, 422),
            ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400),
            ({"content": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=y"}}, 400),
            ({"content": b"RIFF\xff\xff\xff\xffWAVEfmt "}, 422),
        ],
    )
    def test_bodies_without_a_recording_are_refused(self, client, given, status):
        answer = client.post("/api/tag", **given)
        assert answer.status_code == status and answer.json()["error"]

    def test_parameters_beside_a_recording_are_short(self, client):
        answer = client.post("/api/tag", json={"inputs": "AAAA", "parameters": {"top_k": "1" * 4000}})
        assert answer.status_code == 400 and answer.json()["error"].startswith("parameters: JSON of up to 4000 char")

    def test_a_cut_off_recording_is_refused(self, client, sound):
        answer = client.post("/api/tag", content=sound[: len(sound) // 2])
        assert answer.status_code == 422 and "cut off" in answer.json()["error"]

    @pytest.mark.parametrize(
        "path",
        [
            "/api/nothing",
            "/nothing",
            "/../pyproject.toml",
            "/..%2f..%2fpyproject.toml",
            "/%2e%2e/serve.py",
            "//etc/passwd",
            "/api/recordings/..%2f/audio",
        ],
    )
    def test_no_path_of_the_server_can_be_read(self, client, path):
        answer = client.get(path)
        assert answer.status_code == 404 and answer.json()["error"]

    def test_another_method_is_refused(self, client):
        assert client.get("/api/tag").status_code == 405
        assert client.put("/api/models").status_code == 405

    def test_recordings_that_are_too_large_are_refused(self, open_client, sound):
        client = open_client(max_size=0.001)
        for given in ({"content": sound}, {"content": iter([sound])}, {"files": {"file": ("a.wav", sound)}}):
            answer = client.post("/api/tag", **given)
            assert (answer.status_code, "up to 0.001 MB" in answer.json()["error"]) == (413, True)
        assert private_files(client) == []

    @pytest.mark.parametrize("stated", [True, False])
    def test_silence_that_unpacks_to_hours_is_refused_while_it_is_decoded(self, open_client, mean_engine, stated):
        file = io.BytesIO()
        with soundfile.SoundFile(file, "w", 1000, 1, "PCM_16", format="FLAC") as flac:
            for _ in range(20):
                flac.write(np.zeros(180_000, np.int16))
        data = bytearray(file.getvalue())
        if not stated:
            data[21:26] = bytes([data[21] & 0xF0, 0, 0, 0, 0])
        engine = mean_engine()
        client = open_client(engine, max_duration=60.0)
        answer = client.post("/api/tag?name=silence.flac", content=bytes(data))
        assert answer.status_code == 413 and "silence.flac: a recording of up to 60 s" in answer.json()["error"]
        assert engine.n_encoded <= 2

    def test_recordings_are_no_longer_than_the_wav_file_of_the_page_can_be(self):
        longest = ServeSettings(max_duration=64_800.0).max_duration
        assert 2 * SAMPLE_RATE * longest + 36 < 1 << 32, "its head has 32 bits for the number of bytes"
        with pytest.raises(ConfigError, match=r"max_duration: .*at most 64800 was expected"):
            ServeSettings(max_duration=longest + 1)

    def test_more_requests_than_may_wait_are_refused(self, open_client, sound, mean_engine, wait_until):
        goes_on = threading.Event()

        class Waiting(mean_engine):
            def encode(self, waveform):
                goes_on.wait()
                return super().encode(waveform)

        client = open_client(Waiting(), jobs=1, queue=1)
        work = client.app.state.server.work
        answers = []
        threads = [
            threading.Thread(target=lambda: answers.append(client.post("/api/tag", content=sound))) for _ in "ab"
        ]
        for thread in threads:
            thread.start()
        wait_until(lambda: (work.n_running, work.n_waiting) == (1, 1))
        refused = client.post("/api/tag", content=sound)
        assert refused.status_code == 503 and refused.headers["retry-after"]
        goes_on.set()
        for thread in threads:
            thread.join()
        assert [answer.status_code for answer in answers] == [200, 200]

    def test_work_that_takes_too_long_is_given_up(self, open_client, sound, mean_engine):
        goes_on = threading.Event()

        class Waiting(mean_engine):
            def encode(self, waveform):
                goes_on.wait()
                return super().encode(waveform)

        answer = open_client(Waiting(), time_limit=0.05).post("/api/tag", content=sound)
        goes_on.set()
        assert answer.status_code == 503 and "no result after 0.05 s" in answer.json()["error"]

    def test_a_fault_of_the_server_is_no_riddle(self, open_client, sound, mean_engine):
        class Broken(mean_engine):
            def encode(self, waveform):
                raise RuntimeError("boom")

        client = open_client(Broken())
        client._transport.raise_server_exceptions = False
        answer = client.post("/api/tag", content=sound)
        assert answer.status_code == 500 and "boom" not in answer.text and answer.json()["error"]


class TestAccess:
    def test_without_the_token_nothing_is_done(self, open_client, sound):
        client = open_client(token="secret")
        assert client.post("/api/tag", content=sound).status_code == 401
        for word in ("Bearer wrong", "Bearer", "secret", "Basic secret", "Bearer secret2", "Bearer é"):
            answer = client.get("/metrics", headers={"Authorization": word.encode("latin-1")})
            assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        client.headers["Authorization"] = "Bearer secret"
        assert client.post("/api/tag", content=sound).status_code == 200

    def test_the_page_and_the_health_need_no_token(self, open_client):
        client = open_client(token="secret")
        assert client.get("/").status_code == client.get("/healthz").status_code == 200

    def test_a_player_needs_only_the_id(self, open_client, sound):
        client = open_client(token="secret")
        client.headers["Authorization"] = "Bearer secret"
        state = ready(client, sound)
        del client.headers["Authorization"]
        assert client.get(f"/api/recordings/{state['id']}/audio").status_code == 200
        assert client.get(f"/api/recordings/{state['id']}").status_code == 401
        assert client.get("/api/recordings/guessed/audio").status_code == 404

    def test_pages_of_other_sites_may_not_call_unless_named(self, open_client, sound):
        client = open_client(origins=["https://friend.example"])
        for origin, status in (
            ("https://evil.example", 403),
            ("null", 403),
            ("http://[", 403),
            ("http://localhost", 200),
            ("https://friend.example", 200),
        ):
            answer = client.post("/api/tag", content=sound, headers={"Origin": origin})
            assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == "https://friend.example"
        assert "access-control-allow-origin" not in open_client().get("/healthz").headers

    def test_a_name_of_another_site_with_this_address_is_refused(self, open_client):
        assert open_client().get("/api/models", headers={"Host": "evil.example"}).status_code == 403
        assert open_client(local=False).get("/api/models", headers={"Host": "station.example"}).status_code == 200

    def test_a_server_for_others_needs_a_token(self):
        with pytest.raises(ConfigError, match="host: other machines"):
            check_open("0.0.0.0", None, False)
        with pytest.raises(ConfigError, match="token"):
            check_open("127.0.0.1", " ", False)
        for host, token, insecure in (
            ("127.0.0.1", None, False),
            ("::1", None, False),
            ("0.0.0.0", "a", False),
            ("0.0.0.0", None, True),
        ):
            check_open(host, token, insecure)


class TestOnSockets:
    def talk(self, server, text: bytes, more: bytes = b"", n=1 << 16) -> bytes:
        with socket.create_connection((server.host, server.port)) as connection:
            connection.sendall(text.replace(b"HOST", server.address.encode()) + more)
            return connection.recv(n)

    def test_an_announced_gigabyte_is_refused_at_once(self, serve):
        server = serve()
        head = b"POST /api/tag HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1000000000\r\n\r\n"
        assert b" 413 " in self.talk(server, head).splitlines()[0]

    def test_a_body_that_stops_is_given_up(self, serve):
        server = serve(upload_timeout=0.1)
        head = b"POST /api/tag HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1000\r\n\r\n"
        assert b" 408 " in self.talk(server, head, b"slow").splitlines()[0]

    def test_work_stops_when_the_client_leaves(self, serve, sound, mean_engine, wait_until):
        begun, goes_on = threading.Event(), threading.Event()

        class Waiting(mean_engine):
            def encode(self, waveform):
                begun.set()
                goes_on.wait()
                return super().encode(waveform)

        engine = Waiting()
        server = serve(engine)
        silence = struct.pack(
            "<4sI4s4sIHHIIHH4sI", b"RIFF", 400_036, b"WAVE", b"fmt ", 16, 1, 1, 1000, 2000, 2, 16, b"data", 400_000
        ) + bytes(400_000)
        with socket.create_connection((server.host, server.port)) as connection:
            head = f"POST /api/tag HTTP/1.1\r\nHost: {server.address}\r\nContent-Length: {len(silence)}\r\n\r\n"
            connection.sendall(head.encode() + silence)
            begun.wait()
        shelf = server.app.state.server.shelf
        wait_until(lambda: not list(Path(shelf._root.name).iterdir()))
        goes_on.set()
        wait_until(lambda: server.app.state.server.work.n_running == 0)
        assert engine.n_encoded < 5  # of 200 s in chunks of 40 s


FILES = {
    "files": [
        {"name": "../a.wav", "duration": 4, "events": [{"label": "dog", "onset": 1.5, "offset": 2, "score": 0.5}]}
    ]
}


class TestExport:
    @pytest.mark.parametrize("form", sorted(FORMATS))
    def test_events_are_written_in_every_format(self, client, form):
        answer = client.post(f"/api/export?format={form}", json=FILES)
        assert answer.status_code == 200 and answer.content
        assert answer.headers["content-disposition"] == f'attachment; filename="a-wav{FORMATS[form].suffixes[0]}"'

    def test_a_table_has_the_events(self, client):
        text = client.post("/api/export?format=csv", json=FILES).text
        assert text == "file,onset,offset,label,score\na.wav,1.5,2.0,dog,0.5\n"

    @pytest.mark.parametrize(
        ("body", "form"),
        [
            ({}, "csv"),
            ([], "csv"),
            ({"files": 1}, "csv"),
            ({"files": [{"name": "a", "events": [{}]}]}, "csv"),
            ({"files": [{"name": "a", "events": [{"label": "x", "onset": -1, "offset": 2}]}]}, "csv"),
            ({"files": [{"name": "a", "events": [{"label": "x", "onset": "nan", "offset": 2}]}]}, "csv"),
            ({"files": [{"name": "a", "events": []}, {"name": "b", "events": []}]}, "audacity"),
            ({"files": [{"name": "a", "duration": "inf", "events": []}]}, "label-studio"),
            ({"files": [{"name": "a", "duration": -1, "events": []}]}, "csv"),
            (FILES, "../etc"),
        ],
    )
    def test_other_bodies_and_formats_are_refused(self, client, body, form):
        answer = client.post("/api/export", params={"format": form}, json=body)
        assert answer.status_code == 400 and answer.json()["error"]
