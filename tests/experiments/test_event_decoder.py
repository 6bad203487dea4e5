"""The page of the decoders of events."""

import json

from experiments.event_decoder import CHOSEN, KEPT, SEARCH, candidates, page


def test_the_page_follows_from_the_figures_that_are_kept() -> None:
    lines = [json.loads(line) for line in SEARCH.read_text(encoding="utf-8").splitlines()]
    text = page(json.loads(KEPT.read_text(encoding="utf-8")), lines)
    assert text == KEPT.with_suffix(".md").read_text(encoding="utf-8")


def test_the_search_has_the_defaults() -> None:
    assert CHOSEN in [decoder for _, decoder in candidates()]
    assert len(SEARCH.read_text(encoding="utf-8").splitlines()) == len([*candidates()])
