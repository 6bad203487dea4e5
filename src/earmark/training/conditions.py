"""Settings of the conditions under which training clips are recorded again; needs no PyTorch."""

from dataclasses import dataclass
from typing import Annotated

from earmark.errors import Limit
from earmark.training.choices import Topic

Share = Annotated[float, Limit(at_least=0, at_most=1), Topic.CONDITIONS]


@dataclass(frozen=True)
class RecordingConditions:
    """How variants of the training clips differ from them: by background, room, device, codec and clipping.

    A variant is what another recording of the clip might sound like. Each change happens to a share of the variants.
    """

    n_variants: Annotated[int, Limit(at_least=0), Topic.CONDITIONS] = 0
    """Variants of each clip to train on beside it, as if recorded again under other conditions; 0 is none."""
    mix_share: Share = 0.0
    """Share of the variants to which another training clip is added, with its labels, at up to `mix_clips_db`."""
    background_share: Share = 0.5
    """Share of the variants with a background: recordings or noise."""
    background: Annotated[str | None, Topic.CONDITIONS] = None
    """Folder of recordings for the background; by default clips without labels, all with `label_weight` 0."""
    background_db: Annotated[float, Topic.CONDITIONS] = 0.0
    """Lowest level of a clip above its background (dB); levels are uniform up to 30 dB more."""
    room_share: Share = 0.3
    """Share of the variants with the reverberation of a synthetic room."""
    room_seconds: Annotated[float, Limit(above=0), Topic.CONDITIONS] = 1.0
    """Longest reverberation time of a room (s, to -60 dB)."""
    device_share: Share = 0.3
    """Share of the variants with the frequency response and the band of another microphone or loudspeaker."""
    codec_share: Share = 0.3
    """Share of the variants that were compressed: mp3 and Opus at low rates, and telephone."""
    clipping_share: Share = 0.1
    """Share of the variants whose peaks are clipped, at up to 20 dB below the highest."""
