"""Metrics, reports, calibration and localisation."""
