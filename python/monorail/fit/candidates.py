"""What a search is to try, looked at before the data is read; and what is said where nothing of it can be fitted."""

from __future__ import annotations

import difflib
import inspect
import itertools
import re
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import FitError

#: Different reasons of failed fits that an error names.
_REASONS = 10


def check_candidates(search: Any) -> None:
    """Refuse a search whose own parameters are wrong, or that varies a parameter which its estimator does not have.

    Args:
        search: Not fitted.

    Raises:
        FitError: ``cannot_fit``, with the parameter.
    """
    from sklearn.model_selection import ParameterGrid, ParameterSampler

    given = search.param_grid if hasattr(search, "param_grid") else search.param_distributions
    try:
        search._validate_params()
        ParameterGrid(given) if hasattr(search, "param_grid") else ParameterSampler(given, 1)
    except (TypeError, ValueError) as error:
        kind = type(search).__name__
        raise FitError(
            f"`{kind}` cannot be fitted: {_first_line(error)}",
            code="cannot_fit",
            hint="change the parameter",
            details=[{"code": "cannot_fit", "path": kind}],
        ) from error
    for varied in [given] if isinstance(given, Mapping) else given:
        for candidate in _kinds(varied):
            _check(search.estimator, candidate)


def _kinds(varied: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Candidates of every kind: values that have parameters of their own, which others name, decide what there is.

    Args:
        varied: Values of each parameter, or a distribution of them.
    """
    holders = [name for name in varied if any(other.startswith(f"{name}__") for other in varied)]
    drawn = {name for name in varied if hasattr(varied[name], "rvs")}
    # Nobody knows what a distribution will give.
    known = [name for name in varied if not any(name.startswith(f"{holder}__") for holder in drawn)]
    free = {name: next(iter(varied[name])) for name in known if name not in holders and name not in drawn}
    free |= dict.fromkeys(drawn)
    fixed = [name for name in holders if name not in drawn]
    for values in itertools.product(*(varied[name] for name in fixed)):
        # A holder comes before what it holds.
        yield {**dict(zip(fixed, values, strict=True)), **free}


def _check(estimator: Any, candidate: Mapping[str, Any]) -> None:
    """Refuse the first parameter of a candidate that the estimator does not have.

    Raises:
        FitError: ``cannot_fit``.
    """
    from sklearn.base import clone

    copy: Any = clone(estimator)
    for name, value in candidate.items():
        try:
            copy.set_params(**{name: clone(value, safe=False)})
        except (ValueError, AttributeError) as error:
            known = list(copy.get_params())
            near = difflib.get_close_matches(name, known, 3, 0.5)
            raise FitError(
                f"the search varies `{name}`, and `{type(estimator).__name__}` has no such parameter",
                code="cannot_fit",
                hint=f"did you mean {' or '.join(near)}?" if near else f"its parameters are {', '.join(known[:20])}",
                details=[{"code": "cannot_fit", "path": name}],
            ) from error


class Failures:
    """The fits of a search that failed.

    Args:
        search: The search.
    """

    def __init__(self, search: Any) -> None:
        self._search = search
        self._traces: Counter[str] = Counter()

    def add(self, trace: str) -> None:
        """A fit failed.

        Args:
            trace: What Python printed of it.
        """
        self._traces[trace] += 1

    def error(self, told: Exception) -> Exception:
        """What to raise where the search itself raised something.

        Args:
            told: What it raised.

        Returns:
            A :class:`FitError`, with step and reason of each kind of failure where it was that every fit failed; what
            was raised, where the search was told to raise what steps raise.
        """
        if self._search.error_score == "raise":
            return told
        if self._traces and "fits failed" in str(told):
            return self._none()
        path = _culprit("".join(traceback.format_exception(told)), self._search.estimator)
        return FitError(
            f"`{path or type(self._search).__name__}` cannot be fitted on these rows: {_first_line(told)}",
            code="cannot_fit",
            hint="put a step before it that mends the values, leave rows out with filters=, or change the parameter",
            details=[{"code": "cannot_fit", "path": path or type(self._search).__name__}],
        )

    def _none(self) -> FitError:
        """That every fit failed."""
        estimator = self._search.estimator
        reasons: Counter[tuple[str, str]] = Counter()
        for trace, times in self._traces.items():
            reasons[_culprit(trace, estimator), _last_line(trace)] += times
        details = [
            {"code": "cannot_fit", **({"path": path} if path else {}), "got": reason}
            for (path, reason), _ in reasons.most_common(_REASONS)
        ]
        (path, reason), _ = reasons.most_common(1)[0]
        return FitError(
            f"none of the search's fits succeeded: `{path or type(estimator).__name__}`: {reason}",
            code="cannot_fit",
            hint="fit the estimator by itself first: it cannot learn from these rows with any of the parameters tried",
            details=details,
        )


def _last_line(trace: str) -> str:
    """The error that a trace ends with; of several lines the first."""
    lines = trace.strip().splitlines()
    place = max((place for place, line in enumerate(lines) if line.startswith(" ")), default=-1)
    told = (lines[place + 1 :] or lines[-1:] or ["it failed"])[0]
    # Where an error's class is defined is of no use to the reader.
    return re.sub(r"^[\w.]+\.(?=\w+:)", "", told)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _culprit(trace: str, estimator: Any) -> str:
    """The parameter that holds the step in whose class a trace ends; empty where that is the estimator itself."""
    found, where = "", -1
    for name, step in estimator.get_params(deep=True).items():
        if not hasattr(step, "fit") or isinstance(step, type):
            continue
        place = max(trace.rfind(sign) for sign in _signs(step))
        if place > where:
            found, where = name, place
    return found


def _signs(step: Any) -> Sequence[str]:
    """What a trace says where an error came of a step's class."""
    try:
        file = inspect.getsourcefile(type(step))
    except TypeError:
        file = None
    said = f"parameter of {type(step).__name__} must"
    return [said] if file is None else [said, f'File "{file}"']
