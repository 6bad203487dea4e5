"""ESC-50's classes as labels of AudioSet."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from earmark.labels import LabelSet

IN_AUDIOSET: Final[Mapping[str, tuple[str, ...]]] = {
    "dog": ("Dog", "Bark"),
    "rooster": ("Crowing, cock-a-doodle-doo",),
    "pig": ("Pig", "Oink"),
    "cow": ("Cattle, bovinae", "Moo"),
    "frog": ("Frog", "Croak"),
    "cat": ("Cat", "Meow"),
    "hen": ("Chicken, rooster", "Cluck"),
    "insects": ("Insect", "Fly, housefly", "Bee, wasp, etc."),
    "sheep": ("Sheep", "Bleat"),
    "crow": ("Crow", "Caw"),
    "rain": ("Rain", "Rain on surface"),
    "sea_waves": ("Waves, surf", "Ocean"),
    "crackling_fire": ("Crackle", "Fire"),
    "crickets": ("Cricket",),
    "chirping_birds": ("Bird vocalization, bird call, bird song", "Chirp, tweet"),
    "water_drops": ("Drip",),
    "wind": ("Wind",),
    "pouring_water": ("Pour", "Fill (with liquid)"),
    "toilet_flush": ("Toilet flush",),
    "thunderstorm": ("Thunderstorm", "Thunder"),
    "crying_baby": ("Baby cry, infant cry",),
    "sneezing": ("Sneeze",),
    "clapping": ("Clapping", "Applause"),
    "breathing": ("Breathing",),
    "coughing": ("Cough",),
    "footsteps": ("Walk, footsteps",),
    "laughing": ("Laughter",),
    "brushing_teeth": ("Toothbrush",),
    "snoring": ("Snoring",),
    "drinking_sipping": ("Gargling", "Burping, eructation"),
    "door_wood_knock": ("Knock",),
    "mouse_click": ("Clicking", "Mouse"),
    "keyboard_typing": ("Computer keyboard", "Typing"),
    "door_wood_creaks": ("Creak",),
    "can_opening": ("Burst, pop", "Crack"),
    "washing_machine": ("Mechanisms", "Mechanical fan"),
    "vacuum_cleaner": ("Vacuum cleaner",),
    "clock_alarm": ("Alarm clock", "Beep, bleep"),
    "clock_tick": ("Tick-tock", "Tick", "Clock"),
    "glass_breaking": ("Shatter", "Breaking", "Glass"),
    "helicopter": ("Helicopter",),
    "chainsaw": ("Chainsaw",),
    "siren": ("Siren",),
    "car_horn": ("Vehicle horn, car horn, honking", "Toot"),
    "engine": ("Engine", "Idling", "Medium engine (mid frequency)"),
    "train": ("Train", "Rail transport"),
    "church_bells": ("Church bell",),
    "airplane": ("Fixed-wing aircraft, airplane", "Aircraft"),
    "fireworks": ("Fireworks", "Firecracker"),
    "hand_saw": ("Sawing",),
}
"""AudioSet has no label for drinking, mouse clicks of a computer, cans and washing machines; near ones stand in.

AudioSet's `Mouse` is the animal, not the computer mouse; this mistake stays, because the table was fixed before the
measurement.
"""


def in_esc50(scores: np.ndarray, labels: LabelSet) -> np.ndarray:
    """The score of each class: the highest of its labels.

    Args:
        scores: (..., label).
        labels: AudioSet's.

    Returns:
        (..., class), in the order of `LabelSet.esc50()`.
    """
    columns = [[labels.names.index(name) for name in IN_AUDIOSET[each]] for each in LabelSet.esc50().names]
    return np.stack([scores[..., each].max(axis=-1) for each in columns], axis=-1)
