"""Detections cut out to listen to, and what a person made of them."""
