"""Metrics, reports, calibration, and how well scores locate events."""
