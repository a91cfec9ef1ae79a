"""Serving models over HTTP: the Rust server, started and stopped from Python. Nothing here runs per request."""

from .configuration import resolve_settings
from .server import Server, serve

__all__ = ["Server", "resolve_settings", "serve"]
