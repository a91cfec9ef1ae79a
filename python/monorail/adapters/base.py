"""What an adapter is: it recognises one framework's fitted objects, describes them, and asks them for their answers."""

from __future__ import annotations

import importlib
import importlib.metadata
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MissingExtraError


@dataclass(frozen=True)
class Description:
    """What a fitted object is.

    Attributes:
        kind: "classifier", "regressor", "clusterer", "outlier_detector", "transformer" or "class".
        outputs: the names of the outputs `predict` gives by default.
        offers: all names `answers` knows for it.
        classes: the classes in the order of the probabilities, empty if there are none.
        frameworks: distributions it needs, with their versions.
        feature_names: the columns it was fitted on; empty if it was fitted on an array without names.
        takes: the kind of `Form` it takes whatever the example is: "series" (one column of text), "records" (dicts),
            "batch", "arrays" (a dict) or "pandas"; "" where the example says it.
    """

    kind: str
    outputs: tuple[str, ...]
    offers: tuple[str, ...]
    classes: tuple[Any, ...] = ()
    frameworks: dict[str, str] = field(default_factory=dict)
    feature_names: tuple[str, ...] = ()
    takes: str = ""


class Adapter(ABC):
    """One framework. Adapters hold no state; they import their framework only when given one of its objects."""

    framework: str

    @abstractmethod
    def recognises(self, model: object) -> bool:
        """Whether this adapter is for the object, judged by the names of its classes alone."""

    @abstractmethod
    def describe(self, model: Any) -> Description:
        """What the object is; cheap.

        Raises:
            CompileError: `unknown_framework` if it is not fitted or has nothing that predicts.
        """

    @abstractmethod
    def answers(self, model: Any, frame: Any, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """The original's own answers.

        Args:
            model: the fitted object.
            frame: data in the form it was fitted with.
            outputs: names among `Description.offers`.

        Returns:
            One array an output, `[rows]` or `[rows, size]`.

        Raises:
            Exception: whatever the original raises for data it refuses.
        """

    def folder(self, model: Any) -> Path | None:
        """The folder that the object reads when it is asked; None where it holds all that it needs."""
        del model
        return None

    def moved(self, model: Any, folder: Path) -> Any:
        """The object where its folder lies elsewhere.

        Args:
            model: the object.
            folder: a copy of what `folder` gave.
        """
        del folder
        return model

    def names(self, model: Any, output: str, width: int) -> list[str]:
        """What the places of an output that is a list are; numbers where nothing says more.

        Args:
            model: the fitted object.
            output: its name, among `Description.offers`.
            width: places of the list.
        """
        del model, output
        return [str(number) for number in range(width)]


def class_modules(model: object) -> list[str]:
    """`module.Class` for an object's class and all its bases."""
    return [f"{kind.__module__}.{kind.__qualname__}" for kind in type(model).__mro__]


def versions(*distributions: str) -> dict[str, str]:
    """Installed versions of distributions, those that are not installed left out."""
    found = {}
    for name in distributions:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def framework(module: str, extra: str, why: str) -> Any:
    """Imports a framework's module.

    Args:
        module: its name.
        extra: the extra of Monorail that installs it.
        why: what it is needed for, as in "to read a skops file".

    Raises:
        MissingExtraError: it, or something it needs, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{error.name or module} is needed {why} and is not installed",
            code="missing_extra",
            hint=f"pip install 'monorail[{extra}]'",
        ) from error


def quietly(function: Any, *arguments: Any) -> Any:
    """Calls a method of the original without its warnings: hard rows are made to provoke them."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return function(*arguments)


def plain(values: Any) -> np.ndarray:
    """An answer as a dense array; one column becomes `[rows]`."""
    array = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
