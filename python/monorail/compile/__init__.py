"""Compiling a fitted model to a graph, and proving that the graph answers as the model does."""

from .build import ColumnSplits, Compiled, compile_model

__all__ = ["ColumnSplits", "Compiled", "compile_model"]
