"""Target encoders: two passes, one for the target alone, one for what each fold's rows say of each category."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ...adapters.frames import Form
from ...errors import FitError
from ..learning import Block, Inputs, Learner, Statistic
from .categories import Distinct, Learnt, learnt, plain
from .encode import categories_found, invalid
from .folds import MOST_ROWS, Folds, make_folds, needs_target, splitter_of
from .tables import MOST_CLASSES, ClassTable, MomentTable, Table, Targets, TargetValues, column_of, distinct, pooled

#: Count, mean and squared deviations of the target: ``[folds, categories]`` each.
Moments = tuple[np.ndarray, np.ndarray, np.ndarray]


class TargetLearner(Learner):
    """``TargetEncoder``, with the folds that scikit-learn's ``fit_transform`` would give the training rows."""

    def __init__(self, step: Any, inputs: Inputs) -> None:
        super().__init__(step, inputs)
        self._classes: tuple[Any, ...] = ()
        self._rows = 0
        self._folds: Folds | None = None
        self._tables: list[ClassTable | MomentTable] = []
        self._crossed: CrossFitted | None = None

    def refusal(self) -> str | None:
        """Parameters that scikit-learn refuses, and no target."""
        reason = invalid(self.step, self.inputs)
        if reason is None and self.inputs.target_type is None:
            return "it needs a target; name its column with target="
        kind = self.inputs.target_type
        if reason is None and pa.types.is_nested(kind):
            return "it takes one target, and there are several"
        if reason is None and self.step.target_type == "continuous" and not _is_number(kind):
            return f"its target is said to be continuous, and is {kind}"
        return reason

    def wants(self) -> Sequence[Statistic]:
        """The target in the first pass, a table of every column in the second."""
        if self._crossed is not None:
            return ()
        return self._tables or [self._target]

    def learn(self, found: Mapping[Statistic, Any]) -> None:
        """Settle what the target is and who is in which fold; then fit the encoder.

        Raises:
            FitError: ``cannot_fit``: scikit-learn would refuse this target, its folds or the categories.
        """
        if self._folds is not None:
            self._fit([found[table] for table in self._tables], self._folds)
        else:
            self._settle(found[self._target])

    def note(self) -> str | None:
        """Where the folds are not scikit-learn's own."""
        if self._folds is None or self._folds.ids is not None:
            return None
        return f"more than {MOST_ROWS:,} rows: the folds of training rows are drawn by their numbers"

    def for_training(self) -> Callable[[Block], Any] | None:
        """Each row as the other folds' rows say."""
        return self._crossed

    @property
    def _target(self) -> TargetValues:
        step = self.step
        if step.target_type == "continuous":
            return TargetValues(any_number=False, kept=0)
        own = type(splitter_of(step, True)).__name__ in ("KFold", "StratifiedKFold")
        kept = 0 if not needs_target(step) else MOST_ROWS if own else 2**62
        return TargetValues(any_number=step.target_type != "auto", kept=kept)

    def _settle(self, found: Targets) -> None:
        step = self.step
        kind = _kind(found, self._series(found)) if step.target_type != "continuous" else "continuous"
        step.target_type_ = kind if step.target_type == "auto" else step.target_type
        step.classes_ = None
        if step.target_type_ != "continuous":
            if found.classes is None:
                raise _too_many_classes()
            self._classes = self._sorted(found, kind)
        # Folds are stratified where the target is of classes, and not only said to be.
        stratified = step.target_type_ != "continuous" and kind != "continuous"
        self._rows, codes = found.rows, found.codes
        self._folds = make_folds(step, found.rows, (lambda: np.concatenate(codes or [])) if stratified else None)
        places = range(self.inputs.width)
        if self._classes:
            self._tables = [ClassTable(place, self._folds, self._classes) for place in places]
        else:
            self._tables = [MomentTable(place, self._folds) for place in places]

    def _series(self, found: Targets) -> Any:
        """The different values of the target as ``fit`` would be given them."""
        if found.classes is None:
            return None
        kind = plain(self.inputs.target_type)
        return Form("pandas").frame(pa.table({"target": pa.array(list(found.classes), kind)}))["target"]

    def _sorted(self, found: Targets, kind: str) -> tuple[Any, ...]:
        """The values of the target in the order of the classes."""
        from sklearn.preprocessing import LabelEncoder

        encoder: Any = LabelEncoder()
        try:
            order = encoder.fit_transform(self._series(found))
        except ValueError as error:
            raise FitError(f"the target is not of classes: {error}", code="cannot_fit") from error
        self.step.classes_ = encoder.classes_
        if self.step.target_type_ == "multiclass" and (kind == "continuous" or len(encoder.classes_) < 3):
            raise FitError(
                "a target encoder of many classes has a target of fewer, or of numbers",
                code="cannot_fit",
                hint="say target_type='auto'",
            )
        values = list(found.classes or ())
        return tuple(values[place] for place in np.argsort(order))

    def _fit(self, tables: Sequence[Table], folds: Folds) -> None:
        step, inputs = self.step, self.inputs
        columns, keys, whole, crossed = [], [], [], []
        outputs = range(len(self._classes)) if step.target_type_ == "multiclass" else (None,)
        means: dict[int | None, tuple[Any, np.ndarray]] = {}
        for place, table in enumerate(tables):
            numbers = table.trimmed()
            counts = numbers[0].sum(axis=(0, 2) if self._classes else 0).astype(np.int64)
            values = list(table.places)
            column = learnt(step, inputs, place, Distinct.of_keys(inputs, place, values, counts), "ignore")
            columns.append(column)
            keys.append(dict(zip(values, column.places.tolist(), strict=True)))
            numbers = by_category(numbers, column)
            everyone, others = _everyone(numbers), _others(numbers)
            for output in outputs:
                encodings, mean = _encodings(_moments(everyone, output), step.smooth, self._mean_kind)
                whole.append(encodings)
                encodings, means_of_others = _encodings(_moments(others, output), step.smooth, self._mean_kind)
                crossed.append(encodings)
                means[output] = mean, means_of_others
        categories_found(step, columns, self._rows)(inputs.sample)
        values = [mean for mean, _ in means.values()]
        step.target_mean_ = values[0] if outputs == (None,) else np.array(values)
        step.encodings_ = whole
        others_means = np.stack([mean for _, mean in means.values()], axis=1).astype(np.float64)
        self._crossed = CrossFitted(tuple(keys), tuple(crossed), others_means, folds)

    @property
    def _mean_kind(self) -> Any:
        """The type that NumPy's mean of the target has."""
        if self._classes:
            return np.float64
        empty = Form("pandas").frame(pa.table({"target": pa.array([0], plain(self.inputs.target_type))}))
        return type(np.mean(empty["target"].to_numpy()))


def by_category(numbers: Sequence[np.ndarray], column: Learnt) -> list[np.ndarray]:
    """A table's numbers in the order of the categories, and those of all values together behind them.

    Args:
        numbers: ``[folds, values, ...]``.
        column: The place of each value among the categories.
    """
    width = len(column.categories)
    made = [np.zeros((one.shape[0], width + 1, *one.shape[2:]), one.dtype) for one in numbers]
    # scikit-learn counts what is none of the given categories for the first one, and so does this.
    of_values = np.maximum(column.places, 0)
    waiting = np.arange(len(of_values))
    while len(waiting):
        # Mostly once; again for values that are one category.
        places, first = np.unique(of_values[waiting], return_index=True)
        chosen = waiting[first]
        pairs = [np.stack([one[:, places], new[:, chosen]]) for one, new in zip(made, numbers, strict=True)]
        for one, both in zip(made, _everyone(pairs), strict=True):
            one[:, places] = both
        waiting = np.delete(waiting, first)
    for one, total in zip(made, _everyone([np.moveaxis(one, 1, 0) for one in numbers]), strict=True):
        one[:, width] = total
    return made


def _everyone(numbers: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Groups, along the first axis, together."""
    return [numbers[0].sum(axis=0)] if len(numbers) == 1 else list(pooled(*numbers))


def _others(numbers: Sequence[np.ndarray]) -> list[np.ndarray]:
    """For each group all others together."""
    if len(numbers) == 1:
        return [numbers[0].sum(axis=0) - numbers[0]]
    without = [_everyone([np.delete(one, fold, axis=0) for one in numbers]) for fold in range(len(numbers[0]))]
    return [np.stack(parts) for parts in zip(*without, strict=True)]


def _moments(numbers: Sequence[np.ndarray], output: int | None) -> Moments:
    """Count, mean and squared deviations of what one output encodes.

    Args:
        numbers: Those moments, or the counts of the classes along the last axis.
        output: The class whose share is encoded; None for the target, or the numbers of its classes.
    """
    if len(numbers) == 3:
        return numbers[0], numbers[1], numbers[2]
    counts = numbers[0].astype(np.float64)
    rows = counts.sum(axis=-1)
    if output is None:
        values = np.arange(counts.shape[-1])
        mean = counts @ values / np.maximum(rows, 1)
        return rows, mean, (counts * (values - mean[..., None]) ** 2).sum(axis=-1)
    hits = counts[..., output]
    mean = hits / np.maximum(rows, 1)
    return rows, mean, hits * (1 - mean) ** 2 + (rows - hits) * mean**2


def _encodings(moments: Moments, smooth: Any, kind: Any) -> tuple[np.ndarray, Any]:
    """The encodings of the categories, and the mean of all rows.

    Args:
        moments: Of each category, and of all rows behind them, along the last axis.
        smooth: How much of the mean of all rows is mixed in: a number of rows, or "auto".
        kind: Type of the mean.
    """
    counts, means, squares = (one[..., :-1] for one in moments)
    count, mean, square = (one[..., -1] for one in moments)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean, variance = mean.astype(kind)[()], (square / count).astype(kind)
        of_all = np.asarray(mean, np.float64)[..., None]
        if smooth == "auto":
            spread = np.asarray(variance, np.float64)[..., None] * counts
            weight = spread / (spread + squares / counts)
            mixed = weight * means + (1 - weight) * of_all
            return np.where(np.isnan(weight), of_all, mixed), mean
        rows = counts + smooth
        return np.where(rows == 0, of_all, (smooth * of_all + means * counts) / rows), mean


@dataclass(frozen=True)
class CrossFitted:
    """Training rows as later steps see them: encoded by what the rows of other folds say.

    Attributes:
        keys: For each column the category of each of its values, -1 for none.
        encodings: For each column, and each class of many, ``[folds, categories]``.
        means: ``[folds, classes]``, or of one target ``[folds, 1]``: what is encoded where there is no category.
        folds: In which fold each row is.
    """

    keys: tuple[dict[Any, int], ...]
    encodings: tuple[np.ndarray, ...]
    means: np.ndarray
    folds: Folds

    def __call__(self, block: Block) -> np.ndarray:
        """The rows of a block, ``[rows, features]`` float64."""
        folds = self.folds.of(block)
        width = self.means.shape[1]
        made = np.empty((block.rows, len(self.encodings)))
        for place, known in enumerate(self.keys):
            codes, keys = distinct(column_of(block, place))
            codes = np.array([known.get(key, -1) for key in keys], np.int64)[codes]
            for output in range(width):
                feature = place * width + output
                made[:, feature] = self.encodings[feature][folds, codes]
                # As scikit-learn does it: fold after fold sets them, and the last one stays.
                made[codes < 0, feature] = self.means[-1, output]
        return made


def _is_number(kind: pa.DataType | None) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)


def _kind(found: Targets, values: Any) -> str:
    """What scikit-learn takes the target for.

    Raises:
        FitError: ``cannot_fit``: for none of what an encoder takes.
    """
    from sklearn.utils.multiclass import type_of_target

    if found.classes is None:
        return "multiclass" if found.whole else "continuous"
    with warnings.catch_warnings():
        # All values are different here.
        warnings.simplefilter("ignore", UserWarning)
        kind = type_of_target(values, input_name="y")
    if kind not in ("binary", "multiclass", "continuous"):
        raise FitError(f"the target is {kind}; a target encoder takes numbers or classes", code="cannot_fit")
    return kind


def _too_many_classes() -> FitError:
    return FitError(
        f"the target of a target encoder has more than {MOST_CLASSES:,} classes",
        code="cannot_fit",
        hint="say target_type='continuous' if it is a number",
    )


#: By qualified class name.
LEARNERS = {"sklearn.preprocessing._target_encoder.TargetEncoder": TargetLearner}
