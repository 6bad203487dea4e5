from earmark.data.clips import Clip, Dataset
from earmark.data.synthetic import SyntheticSound
from earmark.data.union import unite
from earmark.labels import LabelSet

SOUND = SyntheticSound("hum", (0,))


def test_a_label_that_one_set_lacks_is_unknown_in_its_clips():
    first = Dataset("first", LabelSet(("dog", "rain"), ("/d", "/r")), (Clip("1", ("dog",), SOUND),))
    second = Dataset(
        "second", LabelSet(("fox", "dog")), (Clip("1", ("fox",), SOUND), Clip("2", (), SOUND, known=("dog",)))
    )
    both = unite([first, second])
    assert (both.name, both.labels) == ("first + second", LabelSet(("dog", "rain", "fox"), ("/d", "/r", "fox")))
    assert [(clip.id, clip.labels, clip.known) for clip in both] == [
        ("1", ("dog",), ("dog", "rain")),
        ("second/1", ("fox",), ("fox", "dog")),
        ("2", (), ("dog",)),
    ]


def test_ids_stay_unique():
    one = Dataset("x", LabelSet(("a",)), (Clip("1", ("a",), SOUND),))
    assert [clip.id for clip in unite([one, one, one])] == ["1", "x/1", "x/x/1"]


def test_sets_with_the_same_labels_stay_wholly_known():
    one, other = (Dataset(name, LabelSet(("a", "b")), (Clip(name, ("a",), SOUND),)) for name in "xy")
    assert [clip.known for clip in unite([one, other])] == [None, None]
