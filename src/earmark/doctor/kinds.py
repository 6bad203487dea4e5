"""What can be wrong with a data set, from where on, and what is not clean then."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final

from earmark.errors import ConfigError, Limit, check_settings


@dataclass(frozen=True)
class Kind:
    """Something that can be wrong."""

    what: str
    """It, in a few words, with the names of limits in braces."""
    advice: str
    """What to do about it."""


KINDS: Final[Mapping[str, Kind]] = {
    "damaged": Kind("rows or files of the source that cannot be read", "correct the rows, download the files again"),
    "missing": Kind("files that are not there", "fetch them, or do without"),
    "unreadable": Kind("clips that cannot be decoded", "copy or download them again"),
    "outside": Kind("clips with labels outside of the set", "correct the labels; they are passed over"),
    "unlabelled": Kind(
        "clips without a label", "label them; --keep unlabelled if nothing that has a label sounds there"
    ),
    "short": Kind("clips shorter than {min_seconds:g} s", "take them out: there is little to learn from"),
    "ends-early": Kind("clips shorter than their table says", "correct the times, or download the files again"),
    "silent": Kind(
        "clips whose peak lies below {silent_dbfs:g} dBFS", "take them out: what their labels say does not sound"
    ),
    "clipped": Kind(
        "clips with {clipped_share:.2%} or more of their samples in cut-off peaks",
        "record more quietly; to learn from, they will do",
    ),
    "warned": Kind("clips of which the decoder warns", "listen to them"),
    "duplicate": Kind("sounds that several clips have", "keep one clip of each"),
    "contradicting": Kind("sounds whose clips differ in their labels", "listen, and correct the labels"),
    "leaking": Kind("sounds with clips in several splits", "keep one clip of each: a test must not know the training"),
    "spanning": Kind("groups with clips in several splits", "move each group to one side"),
    "rare": Kind(
        "labels with fewer than {min_clips} clean clips, in all or in a split",
        "find more, or train with --labels on the others",
    ),
}
"""All findings by name, in the order in which they are told."""
LEFT_OUT: Final = ("unlabelled", "short", "silent", "duplicate", "contradicting")
"""Of clips that can be read, those that are not clean unless they are wanted all the same."""
KEPT: Final = ("ends-early", "clipped", "warned")
"""Those that are, unless they are not wanted."""


@dataclass(frozen=True)
class Limits:
    """From where on something is wrong, and what is not clean then.

    Raises:
        ConfigError: A number outside what it can be, or a kind that cannot be chosen.
    """

    min_seconds: Annotated[float, Limit(at_least=0)] = 0.2
    """Shorter clips are `short`. Half a segment of the paper's network; published sets have clips of 0.3 s (FSD50K)."""
    silent_dbfs: Annotated[float, Limit(at_most=0)] = -60.0
    """Clips whose peak lies below are `silent`; decibels, 0 is full scale. That of FFmpeg's silencedetect."""
    clipped_share: Annotated[float, Limit(above=0, at_most=1)] = 0.001
    """Clips with this share of their samples in runs of three or more at full scale are `clipped`."""
    min_clips: Annotated[int, Limit(at_least=0)] = 5
    """Labels with fewer clean clips, in all or in a split, are `rare`."""
    keep: frozenset[str] = frozenset()
    """Kinds that are clean all the same."""
    drop: frozenset[str] = frozenset()
    """Of `KEPT`, kinds that are not clean."""

    def __post_init__(self) -> None:
        check_settings(self)
        for name, chosen, choices in (("keep", self.keep, (*LEFT_OUT, *KEPT)), ("drop", self.drop, KEPT)):
            if unknown := chosen - set(choices):
                raise ConfigError(f"some of {', '.join(choices)} were expected, not {', '.join(sorted(unknown))}", name)
        if both := self.keep & self.drop:
            raise ConfigError(f"{', '.join(sorted(both))} was expected in keep or drop, not in both", "keep")

    @property
    def left_out(self) -> frozenset[str]:
        """What keeps a clip that can be read from being clean."""
        return (frozenset(LEFT_OUT) - self.keep) | self.drop

    def to_json(self) -> dict[str, Any]:
        """The limits as plain JSON values."""
        return {**asdict(self), "keep": sorted(self.keep), "drop": sorted(self.drop)}

    def what(self, kind: str) -> str:
        """A kind in a few words, with these limits."""
        return KINDS[kind].what.format(**asdict(self))
