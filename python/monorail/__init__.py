"""Monorail: one rail from raw data to live predictions."""
