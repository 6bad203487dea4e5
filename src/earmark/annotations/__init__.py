"""Events of recordings in the formats that people look at, correct and count them in."""
