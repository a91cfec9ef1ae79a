"""Converters for lightgbm, one family a file. Nothing here imports lightgbm."""
