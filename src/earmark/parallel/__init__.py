"""Processes and threads that run side by side."""
