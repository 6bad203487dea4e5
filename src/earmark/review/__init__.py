"""Detections cut out to listen to, and the verdicts of a person on them."""
