"""The page in Chromium: what a person does on it, and what they see then."""

import json
import re

import numpy as np
import pytest

from earmark.audio.recording import Audio, load_audio, save_audio
from tests.serve.browser import chromium, find_chromium
from tests.serve.conftest import RATE


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium on this machine; `apt-get install chromium` brings it")
    with chromium(program, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(browser, serve, mean_engine, tmp_path):
    """The page of a server; its scripts have had no error at the end."""
    browser.resize(1200, 900)
    browser.prefer("light")
    browser.downloads_to(tmp_path / "downloads")
    server = serve(mean_engine(clip_duration=1.6))  # its context is no longer than a window
    browser.server = server
    browser.open(f"http://{server.address}/")
    browser.problems.clear()
    yield browser
    assert browser.problems == []


@pytest.fixture
def recording(tmp_path, levels):
    """`low` sounds from 2.4 to 4 s of 8 s."""
    path = tmp_path / "street.wav"
    save_audio(path, levels(*[-0.5] * 6, *[0.5] * 4, *[-0.5] * 10), "FLOAT")
    return path


def show(page, *paths):
    """Uploads recordings and waits until the first is shown and all are ready."""
    page.choose_files("#choose", paths)
    ready = f"document.querySelectorAll('#files .open:not(:disabled)').length === {len(paths)}"
    page.wait(f"{ready} && document.querySelectorAll('.event').length > 0")


def events(page, label):
    """Descriptions of the events in a lane, as a screen reader reads them."""
    lane = f"document.querySelectorAll('.lane[aria-label={label}] .event')"
    return page.evaluate(f"[...{lane}].map((event) => event.ariaLabel)")


def exported(page, tmp_path, form, wait_until):
    """Content of the file that the page saves."""
    page.fill("#format", form)
    page.click("#export button")
    folder = tmp_path / "downloads"
    wait_until(lambda: folder.exists() and any(path.suffix != ".crdownload" for path in folder.iterdir()))
    (path,) = folder.iterdir()
    text = path.read_text()
    path.unlink()
    return text


def test_an_upload_shows_tags_events_and_the_spectrogram(page, recording):
    show(page, recording)
    tags = page.evaluate("[...document.querySelectorAll('.lane .tag')].map((tag) => tag.textContent)")
    assert set(tags) == {"low", "high", "never"}
    assert len(events(page, "low")) == 1 and len(events(page, "high")) == 2
    pixels = "document.querySelector('#spectrogram').getContext('2d').getImageData(0, 0, 400, 100).data"
    page.wait(f"new Set({pixels}).size > 8")
    assert page.text("#name") == "street.wav" and page.text("#clock") == "0:00.0 / 0:08.0"


def test_a_click_on_a_tag_shows_its_evidence_and_the_attention_of_each_head(page, recording):
    show(page, recording)
    overlay = "document.querySelector('#overlay')"
    drawn = (
        f"{overlay}.getContext('2d').getImageData(0, 0, {overlay}.width, {overlay}.height).data"
        f".filter((value, i) => i % 4 === 3 && value > 0).length / {overlay}.width / {overlay}.height"
    )
    page.wait(f"{drawn} > 0 && {drawn} < 0.1")
    page.click(".lane[aria-label=low] .tag")
    page.wait("document.querySelector('#explained').textContent.startsWith('Evidence for low, score')")
    page.wait(f"{drawn} > 0.3")
    page.wait("!document.querySelector('#attention-row').hidden")
    assert page.evaluate("document.querySelector('.lane[aria-label=low] .tag').ariaPressed") == "true"
    page.click(".lane[aria-label=low] .tag")
    page.wait("document.querySelector('#attention-row').hidden")


def test_a_slider_moves_the_events_at_once_as_the_server_finds_them(page, recording):
    show(page, recording)
    page.fill(".lane[aria-label=low] input", "1")
    page.wait("document.querySelectorAll('.lane[aria-label=low] .event').length === 0")
    assert len(events(page, "high")) == 2
    page.fill(".lane[aria-label=low] input", "0.3")
    page.wait("document.querySelectorAll('.lane[aria-label=low] .event').length === 1")


def test_events_are_accepted_rejected_renamed_and_drawn(page, recording, tmp_path, wait_until):
    show(page, recording)
    page.click(".lane[aria-label=low] .event")
    page.click("#accept")
    assert events(page, "low")[0].endswith(", accepted")
    page.fill(".lane[aria-label=low] input", "1")
    page.wait("document.querySelector('.lane[aria-label=low] output').textContent === '1.00'")
    assert len(events(page, "low")) == 1, "an accepted event stays whatever the threshold"

    page.click(".lane[aria-label=high] .event")
    page.press("r", "r")
    assert events(page, "high")[0].endswith(", rejected")

    page.click(".lane[aria-label=high] .event:not(.rejected)")
    page.fill("#event-label", " ")
    page.click("#event button[type=submit]")
    page.wait("document.querySelector('#message').textContent.startsWith('A label was expected')")
    page.fill("#event-label", "wind")
    page.fill("#event-onset", "5")
    page.click("#event button[type=submit]")
    page.wait("!!document.querySelector('.lane[aria-label=wind] .event')")

    left, top, width, height = page.box(".lane[aria-label=never] .track")
    page.drag([(left + width * share, top + height / 2) for share in (0.25, 0.3, 0.5)])
    assert events(page, "never") == ["never, 0:02.0 to 0:04.0, drawn by you"]

    rows = [line.split(",") for line in exported(page, tmp_path, "csv", wait_until).splitlines()]
    assert rows[0] == ["file", "onset", "offset", "label", "score"]
    assert {row[3] for row in rows[1:]} == {"low", "never", "wind"} and all(row[0] == "street.wav" for row in rows[1:])
    assert ["street.wav", "5.0", "8.0", "wind", ""] in rows
    page.click("#reject")
    assert events(page, "never") == []
    tasks = json.loads(exported(page, tmp_path, "label-studio", wait_until))
    assert len(tasks) == 1


def test_several_files_are_a_list_and_a_bad_one_says_why(page, recording, tmp_path, wait_until):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no sound")
    page.choose_files("#choose", [bad, recording])
    page.wait("document.querySelectorAll('.event').length > 0")
    notes = page.evaluate("[...document.querySelectorAll('#files small')].map((note) => note.textContent)")
    assert notes[0].startswith("bad.wav: cannot be read as audio") and notes[1] == "0:08"
    page.click("#files li:nth-child(2) .remove")
    page.wait("document.querySelector('#recording').hidden")
    shelf = page.server.app.state.server.shelf
    page.wait("document.querySelectorAll('#files li').length === 1")
    page.click("#files .remove")
    page.wait("!document.querySelector('#welcome').hidden")
    wait_until(lambda: not len(shelf))


def test_a_recording_that_another_model_cannot_analyse_says_why(page, recording):
    show(page, recording)
    loaded = page.evaluate("performance.getEntriesByType('resource').map(({ name }) => name).join(' ')")
    page.server.app.state.server.shelf.drop(re.search(r"/api/recordings/([\w-]+)", loaded)[1])
    page.evaluate("document.querySelector('#model').dispatchEvent(new Event('change'))")
    page.wait("document.querySelector('#files small').textContent.startsWith('no recording has this id')")
    page.problems.clear()  # the browser's own note of status 404


def test_playback_moves_the_cursor_and_loops_the_selected_event(page, recording, wait_until):
    show(page, recording)
    page.click(".lane[aria-label=low] .event")
    onset = page.evaluate("Number(document.querySelector('#event-onset').value)")
    page.click("#loop")
    page.click("#play")
    position = "Number(document.querySelector('#surface').ariaValueNow)"
    page.wait(f"{position} > {onset + 0.3}")
    page.fill("#event-offset", str(onset + 0.5))
    page.click("#event button[type=submit]")
    seen = [page.evaluate(position)]

    def has_returned():
        seen.append(page.evaluate(f"new Promise((done) => setTimeout(() => done({position}), 60))"))
        return seen[-1] < seen[-2]

    wait_until(has_returned)
    assert max(seen) < onset + 1
    page.click("#play")
    page.wait("document.querySelector('#play').textContent === 'Play'")


def test_the_keyboard_moves_zooms_and_selects(page, recording):
    show(page, recording)
    page.evaluate("document.querySelector('#surface').focus()")
    for key in ("End", "Home", "ArrowRight", "+", "+"):
        page.press(key, key if len(key) == 1 else "")
    assert page.evaluate("document.querySelector('#surface').ariaValueText") == "0:00.2"
    page.wait("parseFloat(document.querySelector('.lane[aria-label=high] .event').style.width) === 100")
    page.fill("#add-label", "wind")
    page.evaluate("document.querySelector('#new-event').focus()")
    page.press("Enter", "\r")
    assert events(page, "wind") == ["wind, 0:00.2 to 0:01.2, drawn by you"]
    assert page.evaluate("document.activeElement.id") == "event-onset"
    unnamed = (
        "[...document.querySelectorAll('button, input, select')].filter((e) => e.offsetParent && !e.ariaLabel && "
        "!e.textContent.trim() && !e.labels?.length).map((e) => e.outerHTML)"
    )
    assert page.evaluate(unnamed) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_and_a_phone_needs_no_sideways_scrolling(page, recording, scheme):
    page.prefer(scheme)
    page.resize(360, 740, 2, mobile=True)
    show(page, recording)
    page.click(".lane[aria-label=low] .event")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    colours = page.evaluate(
        "['--text', '--quiet', '--good', '--bad', '--accent', '--surface', '--on-accent', '--event', '--event-text']"
        ".map((name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim())"
    )
    *inks, surface, on_accent, event, event_text = colours
    pairs = [*((ink, surface) for ink in inks), (on_accent, inks[-1]), (event_text, event)]
    assert all(contrast(*pair) >= 4.5 for pair in pairs if pair[0] != inks[-1]), [
        (pair, contrast(*pair)) for pair in pairs
    ]


def contrast(first, second):
    """Contrast ratio of WCAG 2."""

    def luminance(colour):
        digits = colour.lstrip("#")
        digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
        values = np.array([int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)])
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_the_microphone_shows_scores_and_events_and_becomes_a_recording(page):
    page.click("#listen")
    page.click("#live-start")
    page.wait("document.querySelectorAll('#live-scores li').length === 3")
    assert "comes at most 1.6 s later" in page.text("#live-latency")
    page.click("#live-start")
    page.wait("document.querySelectorAll('#live-events li').length > 0")
    page.wait("document.querySelector('#name').textContent.startsWith('microphone-')")
    page.wait("document.querySelectorAll('.event').length > 0")


def test_a_lost_connection_keeps_what_the_microphone_recorded(page, tmp_path, wait_until):
    remember = "constructor(...given) { super(...given); window.line = this; }"
    page.evaluate(f"window.WebSocket = class extends WebSocket {{ {remember} }}; 0")
    page.click("#listen")
    for is_saved in (True, False):
        if not is_saved:
            page.evaluate("XMLHttpRequest.prototype.send = function () { this.onerror(); }; 0")
        page.click("#live-start")
        page.wait("document.querySelector('#live-start').textContent === 'Stop' && window.line.readyState === 1")
        page.wait("document.querySelectorAll('#live-scores li').length === 3")
        page.evaluate("document.querySelector('#live-scores').replaceChildren(); window.line.close()")
        page.wait("document.querySelector('#message').textContent === 'The server closed the connection.'")
        if is_saved:
            page.wait(
                "document.querySelector('#files .open').textContent === document.querySelector('#name').textContent"
            )
            assert page.evaluate("document.querySelector('#files a').hidden")
    page.wait("document.querySelectorAll('#files small.bad').length === 1")
    assert page.text("#files small.bad") == "The upload was interrupted; try again."
    page.click("#files a:not([hidden])")
    folder = tmp_path / "downloads"
    wait_until(lambda: folder.exists() and any(path.suffix == ".wav" for path in folder.iterdir()))
    (path,) = folder.iterdir()
    assert path.name.startswith("microphone-") and load_audio(path, RATE).duration > 0


def test_the_page_asks_for_the_token_once(browser, serve, recording):
    server = serve(token="secret")
    browser.send("Page.navigate", url=f"http://{server.address}/")
    browser.wait("document.querySelector('#ask')?.open")
    for word in ("wrong", "secret"):
        browser.wait("document.querySelector('#ask').open")
        browser.fill("#token", word)
        browser.click("#ask button")
    browser.wait("document.body.dataset.ready === 'true'")
    show(browser, recording)
    browser.click("#play")
    browser.wait("Number(document.querySelector('#surface').ariaValueNow) > 0.1")
    browser.problems.clear()


def test_a_long_recording_is_drawn_from_the_tiles_in_view(page, tmp_path):
    path = tmp_path / "long.flac"
    rng = np.random.default_rng(0)
    save_audio(path, Audio((0.1 * rng.standard_normal(300 * 1000)).astype(np.float32), 1000))
    show(page, path)
    fetched = "performance.getEntriesByType('resource').filter((entry) => entry.name.includes('/spectrogram/')).length"
    n_whole = page.wait(fetched)
    assert n_whole <= 4  # of 30 of the finest level
    for _ in range(4):
        page.click("#zoom-in")
    page.wait(f"{fetched} > {n_whole}")
    assert page.evaluate(fetched) <= n_whole + 16
    assert page.text("#clock").endswith("5:00.0")
