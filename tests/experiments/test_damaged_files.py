"""The page about damaged files."""

from collections import Counter

from experiments.damage import KINDS, make, valid_files
from experiments.damaged_files import Tally, page


def test_the_page_counts_outcomes_by_format_and_damage() -> None:
    counts = Counter({("wav", "cut", "refused"): 3, ("flac", "joined", "noted"): 2, ("flac", "bytes", "short"): 1})
    tally = Tally(counts, ["file 7 (flac, bytes): short 0.5 s of 1.0 s"], mebibytes=4)
    text = page(tally, 6)
    assert "| flac | 3 | 0 | 2 | 0 | 1 |" in text
    assert "| joined | 2 | 0 | 2 | 0 | 0 |" in text
    assert "| all | 6 | 0 | 2 | 3 | 1 |" in text
    assert "Other errors than one clear line: 0. Files left open: 0." in text
    assert not tally.is_good
    assert Tally(Counter({("wav", "cut", "refused"): 3})).is_good


def test_a_number_names_a_file_and_half_of_the_files_are_cut_joined_spliced_or_have_other_lengths() -> None:
    n_formats = len(valid_files())
    files = [make(number) for number in range(8 * n_formats)]
    assert make(5) == files[5]
    kinds = Counter(file.kind for file in files)
    assert kinds == {"bytes": 4 * n_formats, **dict.fromkeys(KINDS[1:], n_formats)}
