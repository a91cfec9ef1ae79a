"""The command line: ``monorail``. One file per command; a command's code is loaded when it is called."""

from .main import main

__all__ = ["main"]
