"""Kinds of findings, their limits, and the kinds that make a clip unclean."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final

from earmark.errors import ConfigError, Limit, check_settings


@dataclass(frozen=True)
class Kind:
    """A kind of finding."""

    what: str
    """Short description; names of limits stand in braces."""
    advice: str
    """Advice to the user."""


KINDS: Final[Mapping[str, Kind]] = {
    "damaged": Kind("rows or files of the source that cannot be read", "correct the rows, download the files again"),
    "missing": Kind("missing files", "download them, or train without them"),
    "unreadable": Kind("clips that cannot be decoded", "copy or download them again"),
    "outside": Kind(
        "clips with labels outside of the set", "correct the labels; labels outside of the set are ignored"
    ),
    "unlabelled": Kind(
        "clips without a label", "label them; --keep unlabelled if nothing that has a label sounds there"
    ),
    "short": Kind("clips shorter than {min_seconds:g} s", "leave them out: they hold too little to learn from"),
    "ends-early": Kind("clips shorter than their table says", "correct the times, or download the files again"),
    "silent": Kind("clips whose peak lies below {silent_dbfs:g} dBFS", "leave them out: their labels do not sound"),
    "clipped": Kind(
        "clips with {clipped_share:.2%} or more of their samples in clipped peaks",
        "record at a lower level; they still serve for training",
    ),
    "warned": Kind("clips with warnings of the decoder", "listen to them"),
    "duplicate": Kind("sounds that occur in several clips", "keep one clip of each"),
    "contradicting": Kind("sounds whose clips differ in their labels", "listen, and correct the labels"),
    "leaking": Kind(
        "sounds with clips in several splits", "keep one clip of each: a test clip must not be in the training set"
    ),
    "spanning": Kind("groups with clips in several splits", "move each group to one split"),
    "rare": Kind(
        "labels with fewer than {min_clips} clean clips, in all or in a split",
        "add clips, or train with --labels on the other labels",
    ),
}
"""Kinds by name, in the order of the report."""
LEFT_OUT: Final = ("unlabelled", "short", "silent", "duplicate", "contradicting")
"""Kinds that make a readable clip unclean unless `Limits.keep` names them."""
KEPT: Final = ("ends-early", "clipped", "warned")
"""Kinds that leave a clip clean unless `Limits.drop` names them."""


@dataclass(frozen=True)
class Limits:
    """Limits of findings, and the kinds that make a clip unclean.

    Raises:
        ConfigError: A number is out of range, or a kind cannot be chosen.
    """

    min_seconds: Annotated[float, Limit(at_least=0)] = 0.2
    """Shorter clips are reported as short; 0.2 s is half a segment of the paper's network."""
    silent_dbfs: Annotated[float, Limit(at_most=0)] = -60.0
    """Clips with a peak below this level (dB relative to full scale) are reported as silent."""
    clipped_share: Annotated[float, Limit(above=0, at_most=1)] = 0.001
    """Clips with this fraction of samples in runs of 3 or more at full scale are reported as clipped."""
    min_clips: Annotated[int, Limit(at_least=0)] = 5
    """Labels with fewer clean clips, in all or in a split, are reported as rare."""
    keep: frozenset[str] = frozenset()
    """Kinds of finding that count as clean, joined by commas: unlabelled, short, silent, duplicate, contradicting."""
    drop: frozenset[str] = frozenset()
    """Kinds of finding that are not clean either, joined by commas: ends-early, clipped, warned."""

    def __post_init__(self) -> None:
        check_settings(self)
        for name, chosen, choices in (("keep", self.keep, (*LEFT_OUT, *KEPT)), ("drop", self.drop, KEPT)):
            if unknown := chosen - set(choices):
                raise ConfigError(f"some of {', '.join(choices)} were expected, not {', '.join(sorted(unknown))}", name)
        if both := self.keep & self.drop:
            raise ConfigError(f"{', '.join(sorted(both))} was expected in keep or drop, not in both", "keep")

    @property
    def left_out(self) -> frozenset[str]:
        """Kinds that make a readable clip unclean."""
        return (frozenset(LEFT_OUT) - self.keep) | self.drop

    def to_json(self) -> dict[str, Any]:
        """The limits as plain JSON values."""
        return {**asdict(self), "keep": sorted(self.keep), "drop": sorted(self.drop)}

    def what(self, kind: str) -> str:
        """Description of a kind with these limits."""
        return KINDS[kind].what.format(**asdict(self))
