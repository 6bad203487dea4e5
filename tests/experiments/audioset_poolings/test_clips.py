"""The clips of the experiment: validation part, groups of labels, strong labels."""

import numpy as np

from experiments.audioset_poolings.clips import BY_FREQUENCY, BY_LENGTH, open_clips


def test_the_validation_part_is_the_same_each_time_and_apart(places):
    clips = open_clips(places)
    fit, valid = clips.parts(0.3, 0)
    assert not {clip.id for clip in fit} & {clip.id for clip in valid}
    assert len(fit) + len(valid) == len(clips.train) == 60 and 8 <= len(valid) <= 28
    assert [clip.id for clip in clips.parts(0.3, 0)[1]] == [clip.id for clip in valid]
    assert [clip.id for clip in clips.parts(0.3, 1)[1]] != [clip.id for clip in valid]


def test_each_label_is_in_one_group_by_frequency(places):
    groups = open_clips(places).groups
    labels = np.concatenate([own for name, own in groups.items() if name.startswith(BY_FREQUENCY)])
    assert sorted(labels.tolist()) == list(range(527))


def test_labels_are_grouped_by_the_median_length_of_their_events(places):
    clips = open_clips(places)
    groups = {name: own.tolist() for name, own in clips.groups.items() if name.startswith(BY_LENGTH)}
    speech, male, female = (clips.test.labels.index(name) for name in ("/m/09x0r", "/m/05zppz", "/m/02zsn"))
    assert groups == {
        f"{BY_LENGTH}under 1.5 s": sorted([male, female]),  # 1.9 and 0.5 s
        f"{BY_LENGTH}1.5 to 5 s": [speech],  # 0.5 s at home (5, 0.4 and 0.5 s) and 9 s in the street
    }


def test_the_facts_name_the_sources(places):
    facts = open_clips(places).facts()
    assert [(one["name"], one["n_clips"], one["n_classes"], one["n_events"]) for one in facts["sources"]] == [
        ("home", 3, 2, 4),
        ("street", 2, 1, 2),
    ]
