"""Bins and the quantile transformer."""

from __future__ import annotations

from typing import Any

import numpy as np

from .numeric import Features, float_type, is_sparse, named, probe_rows
from .ordered import QuantileLearner, refuse_negative

#: How NumPy finds quantiles between two values; those that are learnt.
_METHODS = ("linear", "lower", "higher", "inverted_cdf", "averaged_inverted_cdf")
#: Things that a note says one by one.
_SAID = 4


class BinsLearner(QuantileLearner):
    """``KBinsDiscretizer`` with uniform bins or quantiles, of all rows and not of a subsample."""

    takes_missing = False

    def __init__(self, step: Any, inputs: Any) -> None:
        super().__init__(step, inputs)
        self.method = step.quantile_method
        self._said: list[str] = []
        if step.strategy != "quantile":
            self.ordered.places.clear()

    def parameters(self) -> str | None:
        """Why it cannot be fitted with these parameters; None where it can."""
        if self.step.strategy == "kmeans":
            return "strategy='kmeans' goes over all values many times; 'quantile' and 'uniform' are learnt"
        if self.step.strategy == "quantile" and self.method not in _METHODS:
            return f"quantile_method={self.method!r} is not learnt; {', '.join(_METHODS)} are"
        return None

    def shares(self, features: Features) -> np.ndarray:
        """The edges of all numbers of bins that there are."""
        if self.step.strategy != "quantile":
            return np.zeros(0)
        # As NumPy makes shares of percentiles.
        edges = [np.linspace(0, 100, int(bins) + 1) / 100 for bins in np.unique(self._bins())]
        return np.unique(np.concatenate(edges))

    def place(self, features: Features, values: np.ndarray) -> None:
        """Put edges, numbers of bins and the encoder into the step."""
        from sklearn.preprocessing import OneHotEncoder
        from sklearn.utils import check_array

        step = self.structure(features)
        # scikit-learn takes ends and columns in the type of the matrix: numbers keep theirs.
        rows = probe_rows(self.inputs, features.missing > 0)
        kind = check_array(rows, dtype="numeric", ensure_all_finite=False).dtype
        bins, shares = self._bins(), self.shares(features)
        edges = np.zeros(self.inputs.width, dtype=object)
        for place, (low, high) in enumerate(zip(features.minimum, features.maximum, strict=True)):
            if low == high:
                self._said.append(f"{named(self.inputs, place)} is constant")
                bins[place], edges[place] = 1, np.array([-np.inf, np.inf])
            elif step.strategy == "uniform":
                ends = np.array([low, high]).astype(kind)
                edges[place] = np.linspace(ends[0], ends[1], bins[place] + 1)
            else:
                wanted = np.linspace(0, 100, bins[place] + 1) / 100
                made = values[np.searchsorted(shares, wanted), place]
                made = made[np.ediff1d(made, to_begin=np.inf) > 1e-8]
                if len(made) - 1 != bins[place]:
                    self._said.append(f"{named(self.inputs, place)} keeps {len(made) - 1} of {bins[place]} bins")
                bins[place], edges[place] = len(made) - 1, made
        step.bin_edges_, step.n_bins_ = edges, bins
        if "onehot" in step.encode:
            encoder: Any = OneHotEncoder(sparse_output=step.encode == "onehot")
            encoder.set_params(categories=[np.arange(count) for count in bins])
            encoder.set_params(dtype=step.dtype if step.dtype in (np.float64, np.float32) else kind)
            step._encoder = encoder.fit(np.zeros((1, len(bins))))
        if step.subsample is not None and features.rows > step.subsample:
            self._said.append(
                f"of all {features.rows:,} rows, where its fit takes {step.subsample:,} of them at random"
            )

    def note(self) -> str | None:
        """What the report should say of how the step was fitted."""
        said = [words for words in (super().note(), *self._said) if words]
        more = [f"and {len(said) - _SAID} more"] if len(said) > _SAID else []
        return "; ".join(said[:_SAID] + more) or None

    def _bins(self) -> np.ndarray:
        return self.step._validate_n_bins(self.inputs.width)


class QuantileTransformerLearner(QuantileLearner):
    """``QuantileTransformer``, of all rows and not of a subsample."""

    _sampled: str | None = None

    def parameters(self) -> str | None:
        """Why it cannot be fitted with these parameters; None where it can."""
        step = self.step
        if step.subsample is not None and step.n_quantiles > step.subsample:
            return f"n_quantiles={step.n_quantiles} is more than subsample={step.subsample}"
        if is_sparse(self.inputs) and step.ignore_implicit_zeros:
            return "ignore_implicit_zeros depends on which zeros are stored"
        return None

    def shares(self, features: Features) -> np.ndarray:
        """The quantiles of reference."""
        # As NumPy makes shares of percentiles.
        return self._references(features) * 100 / 100

    def place(self, features: Features, values: np.ndarray) -> None:
        """Put references and quantiles into the step."""
        refuse_negative(self.inputs, features, self.step)
        step = self.structure(features)
        step.references_ = self._references(features)
        step.n_quantiles_ = len(step.references_)
        # NumPy takes the type of them all from the first column, which is the matrix's where all of that is null; of a
        # sparse matrix, whose columns it takes one by one, that is so where all of every one is.
        counts = features.counts if is_sparse(self.inputs) else features.counts[:1]
        none = not counts.any()
        step.quantiles_ = values.astype(float_type(self.inputs, features) if none else step.quantiles_.dtype)
        if step.subsample is not None and features.rows > step.subsample:
            self._sampled = _sampled(features.rows, step.subsample)

    def note(self) -> str | None:
        """What the report should say of how the step was fitted."""
        return "; ".join(words for words in (super().note(), self._sampled) if words) or None

    def _references(self, features: Features) -> np.ndarray:
        return np.linspace(0, 1, max(1, min(self.step.n_quantiles, features.rows)), endpoint=True)


def _sampled(rows: int, subsample: int) -> str:
    return f"of all {rows:,} rows, where its fit takes {subsample:,} of them at random"


_MODULE = "sklearn.preprocessing"
#: By qualified class name.
LEARNERS = {
    f"{_MODULE}._discretization.KBinsDiscretizer": BinsLearner,
    f"{_MODULE}._data.QuantileTransformer": QuantileTransformerLearner,
}
