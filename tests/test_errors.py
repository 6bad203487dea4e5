"""Errors carry their settings, and limits are checked where they are declared."""

import pickle
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from earmark.data.damage import RowError
from earmark.errors import ConfigError, DataError, EarmarkError, EarmarkWarning, Limit, check_settings


def test_a_text_begins_with_the_setting_and_ends_with_the_remedy() -> None:
    assert str(ConfigError("at least 1 was expected, not 0", "width")) == "width: at least 1 was expected, not 0"
    assert str(DataError("2 clips are damaged", remedy={"skip_bad": True})) == "2 clips are damaged (skip_bad=True)"
    assert str(EarmarkError("nan", remedy={"a": 1, "b": "x"})) == "nan (a=1, b='x')"
    assert str(EarmarkWarning("slow", remedy={"width": 16})) == "slow (width=16)"
    assert str(ConfigError("no setting")) == "no setting"
    assert isinstance(ConfigError("x"), ValueError)


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("a divisor was expected", "n_heads", remedy={"n_heads": 4}),
        DataError("damaged", remedy={"skip_bad": True}),
        EarmarkWarning("slow", remedy={"width": 16}),
        EarmarkError(),
    ],
)
def test_errors_can_be_pickled(error: EarmarkError | EarmarkWarning) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(again) is type(error)
    assert (str(again), again.setting, again.remedy) == (str(error), error.setting, error.remedy)


def test_errors_with_other_arguments_can_be_pickled(tmp_path) -> None:
    again = pickle.loads(pickle.dumps(RowError(tmp_path / "t.csv", 3, "no label")))  # noqa: S301
    assert (str(again), again.name) == (f"{tmp_path / 't.csv'}, row 3: no label", "t.csv, row 3")


@dataclass(frozen=True)
class Settings:
    """One field of each kind."""

    count: Annotated[int, Limit(at_least=1)] = 1
    share: Annotated[float | None, Limit(above=0, at_most=1)] = None
    pair: Annotated[tuple[int, int], Limit(at_least=0)] = (0, 3)
    choice: Literal["a", 1] = "a"
    flag: bool = False
    text: str | None = None
    other: frozenset[str] = frozenset()
    either: float | Literal["auto"] | None = None

    def __post_init__(self) -> None:
        check_settings(self)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"count": 0}, "at least 1 was expected, not 0"),
        ({"count": 1.0}, "a whole number was expected, not 1.0"),
        ({"share": 0}, "above 0 and at most 1 was expected, not 0"),
        ({"share": float("inf")}, "a finite number was expected, not inf"),
        ({"pair": (3, 1)}, "two whole numbers, the smaller first, were expected, not (3, 1)"),
        ({"pair": (1, 2, 3)}, "two whole numbers"),
        ({"pair": [1, 2]}, "two whole numbers"),
        ({"pair": (-1, 2)}, "two whole numbers, at least 0, were expected, not (-1, 2)"),
        ({"choice": "b"}, "one of a, 1 was expected, not 'b'"),
        ({"choice": True}, "one of a, 1 was expected, not True"),
        ({"flag": 1}, "true or false was expected, not 1"),
        ({"text": 3}, "a text was expected, not 3"),
    ],
)
def test_invalid_settings(values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings(**values)
    assert caught.value.setting == next(iter(values))
    assert words in str(caught.value)


def test_valid_settings() -> None:
    settings = Settings(2, 1, (3, 3), 1, True, "x", frozenset("a"))
    assert (settings.count, settings.share, settings.pair, settings.choice) == (2, 1, (3, 3), 1)
    assert (settings.flag, settings.text, settings.other) == (True, "x", frozenset("a"))
    assert Settings(share=0.5) == Settings(1, 0.5)
    assert [Settings(either=value).either for value in (0.5, "auto", None)] == [0.5, "auto", None]


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (Limit(at_least=0, at_most=1), "from 0 to 1"),
        (Limit(above=0), "above 0"),
        (Limit(at_most=-1.5), "at most -1.5"),
        (Limit(at_least=16, multiple_of=16), "at least 16 and a multiple of 16"),
    ],
)
def test_limits_are_described_in_words(limit: Limit, words: str) -> None:
    assert str(limit) == words
