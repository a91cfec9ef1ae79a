"""Reads a Python function of numpy operations by calling it once with arrays that write down what is done to them."""

from .call import trace

__all__ = ["trace"]
