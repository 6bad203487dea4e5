"""Interfaces of other programs, for earmark's models."""
