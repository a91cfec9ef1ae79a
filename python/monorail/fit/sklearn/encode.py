"""One-hot and ordinal encoders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...errors import FitError
from ..learning import Inputs, Learner, Statistic
from .categories import Distinct, Learnt, counting, learnt


class EncoderLearner(Learner):
    """Counts the categories of every column, and lets the encoder's own ``fit`` make the rest of them."""

    def __init__(self, step: Any, inputs: Inputs) -> None:
        super().__init__(step, inputs)
        self._counting = [counting(inputs, place) for place in range(inputs.width)]
        self._fitted = False

    def refusal(self) -> str | None:
        """Parameters that scikit-learn refuses, and sparse matrices."""
        return invalid(self.step, self.inputs)

    def wants(self) -> Sequence[Statistic]:
        """One pass: the counts of all columns."""
        return () if self._fitted else self._counting

    def learn(self, found: Mapping[Statistic, Any]) -> None:
        """Fit the encoder.

        Raises:
            FitError: ``cannot_fit``: scikit-learn would refuse these values.
        """
        distinct = [
            Distinct.of_counts(self.inputs, place, found[statistic]) for place, statistic in enumerate(self._counting)
        ]
        strict = self.step.handle_unknown
        columns = [learnt(self.step, self.inputs, place, one, strict) for place, one in enumerate(distinct)]
        # `fit` asks `_fit` for the categories; on the instance, ours is found first.
        self.step._fit = categories_found(self.step, columns, distinct[0].rows)
        try:
            self.step.fit(self.inputs.sample)
        except (ValueError, TypeError, AttributeError) as error:
            # AttributeError: scikit-learn's own message about a dropped category that is rare trips over text.
            raise FitError(str(error), code="cannot_fit") from error
        finally:
            del self.step._fit
        self._fitted = True


def invalid(step: Any, inputs: Inputs) -> str | None:
    """Why an encoder cannot be fitted on such inputs, or None."""
    if hasattr(inputs.sample, "toarray"):
        return "it is given a sparse matrix, which scikit-learn's encoder does not take"
    try:
        step._validate_params()
    except (ValueError, TypeError) as error:
        return str(error)
    if step.categories != "auto" and len(step.categories) != inputs.width:
        return f"it has categories for {len(step.categories)} columns, and is given {inputs.width}"
    return None


def categories_found(step: Any, columns: Sequence[Learnt], rows: int) -> Callable[..., dict[str, Any]]:
    """What stands for ``_BaseEncoder._fit`` where the categories of all rows are known.

    Args:
        step: The encoder.
        columns: What it learns of each column.
        rows: How many rows there are.
    """

    def fit(
        X: Any,
        *,
        return_counts: bool = False,
        return_and_ignore_missing_for_infrequent: bool = False,
        **_: Any,
    ) -> dict[str, Any]:
        from sklearn.utils._missing import is_scalar_nan
        from sklearn.utils.validation import validate_data

        step._check_infrequent_enabled()
        validate_data(step, X=X, reset=True, skip_check_array=True)
        step.n_features_in_ = len(columns)
        step.categories_ = [one.categories for one in columns]
        counts = [one.counts for one in columns]
        output: dict[str, Any] = {"n_samples": rows}
        if return_counts:
            output["category_counts"] = counts
        missing = {}
        if return_and_ignore_missing_for_infrequent:
            missing = {
                place: len(one.categories) - 1 for place, one in enumerate(columns) if is_scalar_nan(one.categories[-1])
            }
            output["missing_indices"] = missing
        if step._infrequent_enabled:
            step._fit_infrequent_category_mapping(rows, counts, missing)
        return output

    return fit


#: By qualified class name.
LEARNERS = {
    "sklearn.preprocessing._encoders.OneHotEncoder": EncoderLearner,
    "sklearn.preprocessing._encoders.OrdinalEncoder": EncoderLearner,
}
