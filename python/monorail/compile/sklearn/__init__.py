"""Converters for sklearn, one family a file. Nothing here imports sklearn."""
