import hashlib
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark.errors import DataError
from earmark.labels import ESC10, LabelSet, normal_label

NAME = st.text(st.characters(categories=("L", "N", "P"), include_characters=" "), min_size=1).filter(
    lambda text: text == normal_label(text)
)
NAMES = st.lists(NAME, min_size=1, max_size=20, unique=True).map(tuple)


@given(NAMES, st.data())
def test_decoding_inverts_encoding(names: tuple[str, ...], data: st.DataObject) -> None:
    labels = LabelSet(names)
    chosen = data.draw(st.lists(st.sampled_from(names)))
    target = labels.encode(chosen)
    assert target.dtype == np.float32
    assert target.shape == (len(labels),)
    assert labels.decode(target) == labels.decode(target > 0.5) == tuple(name for name in names if name in chosen)


@given(NAMES, st.data())
def test_a_subset_keeps_order_and_ids(names: tuple[str, ...], data: st.DataObject) -> None:
    labels = LabelSet(names, tuple(f"/m/{position}\u00df" for position in range(len(names))))
    chosen = data.draw(st.lists(st.sampled_from([*labels.names, *labels.ids]), min_size=1))
    subset = labels.subset(chosen)
    positions = sorted({labels.index(label) for label in chosen})
    assert subset.names == tuple(names[p] for p in positions)
    assert subset.ids == tuple(labels.ids[p] for p in positions)
    assert labels.subset(names) == labels


@given(NAMES)
def test_index_accepts_names_and_ids(names: tuple[str, ...]) -> None:
    labels = LabelSet(names)
    assert labels.ids == labels.names == tuple(labels)
    assert [labels.index(name) for name in names] == list(range(len(labels)))
    assert all(name in labels for name in names)
    assert "no such label" not in labels


def test_equal_label_sets_compare_and_hash_equal(unchecked: None) -> None:
    labels = LabelSet(["dog", "rain"])  # type: ignore[arg-type]
    assert labels.index("rain") == 1  # fills the cache, which must not affect equality
    assert labels == LabelSet(("dog", "rain")) == pickle.loads(pickle.dumps(labels))  # noqa: S301
    assert len({labels, LabelSet(("dog", "rain")), LabelSet(("rain", "dog"))}) == 2


def test_audioset_has_the_order_of_the_published_models() -> None:
    labels = LabelSet.audioset()
    assert len(labels) == len(set(labels.ids)) == 527
    assert (labels.names[0], labels.ids[0]) == ("Speech", "/m/09x0r")
    assert labels.names[1] == "Male speech, man speaking"
    assert (labels.names[526], labels.ids[526]) == ("Field recording", "/m/07hvw1")
    assert labels.index("/m/068hy") == labels.index("Domestic animals, pets") == 73
    assert all(id_.startswith(("/m/", "/t/", "/g/")) for id_ in labels.ids)


def test_esc50_ids_are_the_targets() -> None:
    labels = LabelSet.esc50()
    assert labels.ids == tuple(str(target) for target in range(50))
    assert (labels.names[0], labels.names[49]) == ("dog", "hand_saw")
    assert set(ESC10) < set(labels)
    assert len(labels.subset(ESC10)) == 10


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("DOG", "unknown label 'DOG': did you mean 'dog'?"),
        ("dgo", "unknown label 'dgo': did you mean 'dog'?"),
        ("sea waves", "unknown label 'sea waves': did you mean 'sea_waves'?"),
        ("zzz", "unknown label 'zzz': none of the 50 labels (dog, rooster, pig, cow, frog, cat, hen, insects, ...)"),
    ],
)
def test_unknown_labels_get_suggestions(label: str, text: str) -> None:
    with pytest.raises(DataError) as caught:
        LabelSet.esc50().encode(["dog", label])
    assert str(caught.value).startswith(text)


def test_a_label_that_is_no_text_is_unknown(unchecked: None) -> None:
    with pytest.raises(DataError, match="unknown label 1"):
        LabelSet(("a", "b")).index(1)


@pytest.mark.parametrize(
    ("names", "ids", "text"),
    [
        ((), (), "at least one label, got none"),
        (("a", "b"), ("1",), "one id for each label, got 2 names and 1 ids"),
        (("a", "b", "a"), (), "the label name 'a' is repeated"),
        (("a", "b"), ("1", "1"), "the label id '1' is repeated"),
        (("a", "b"), ("b", "1"), "'b' is the id of 'a' and the name of another label"),
        (("a", ""), (), "got ''"),
        (("a", " b"), (), "got ' b'"),
        (("a", "b\tc"), (), r"got 'b\\tc'"),
    ],
)
def test_ambiguous_label_sets_are_refused(names: tuple[str, ...], ids: tuple[str, ...], text: str) -> None:
    with pytest.raises(DataError, match=text):
        LabelSet(names, ids)


def test_a_single_text_is_refused(unchecked: None) -> None:
    with pytest.raises(DataError, match="a sequence of label names, got the single text 'dog'"):
        LabelSet("dog")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="a label name is text, got 3"):
        LabelSet(("dog", 3))  # type: ignore[arg-type]


def test_targets_of_another_length_are_refused() -> None:
    with pytest.raises(DataError, match=r"one value for each of 2 labels, got shape \(3,\)"):
        LabelSet(("a", "b")).decode(np.zeros(3))


def test_audioset_labels_equal_the_published_table() -> None:
    labels = LabelSet.audioset()
    table = "\n".join(f"{id_}\t{name}" for id_, name in zip(labels.ids, labels.names, strict=True))
    expected = "9d635e38533c460d5549e1d647fe389f322664bbf32cfd4c09ada9052886c69f"
    assert hashlib.sha256(table.encode()).hexdigest() == expected


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("\u200fdog\u200e", "dog"),
        ("do\u200bg", "dog"),
        ("\ufeffdog", "dog"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
        ("\U0001f3f4\U000e0067\U000e0062\U000e007f", "\U0001f3f4\U000e0067\U000e0062\U000e007f"),
    ],
)
def test_invisible_characters_that_spell_nothing_are_removed(text: str, label: str) -> None:
    assert normal_label(text) == label
    assert LabelSet(("rain", text)).index(label) == 1
