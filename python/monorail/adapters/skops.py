"""skops files: opened where every type in them is one that a known framework's models are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import InputError, TrustError
from .base import framework, quietly
from .inside import check_archive

#: Types that skops itself does not trust and that belong to models of frameworks we know. A file's own list of trusted
#: types is never looked at.
ALLOWED = frozenset(
    {
        "catboost.core.CatBoost",
        "catboost.core.CatBoostClassifier",
        "catboost.core.CatBoostRanker",
        "catboost.core.CatBoostRegressor",
        "collections.OrderedDict",
        "collections.defaultdict",
        "lightgbm.basic.Booster",
        "lightgbm.sklearn.LGBMClassifier",
        "lightgbm.sklearn.LGBMRanker",
        "lightgbm.sklearn.LGBMRegressor",
        "numpy.dtype",
        "numpy.mean",
        "scipy._lib.array_api_compat.numpy._aliases.asarray",
        "scipy.interpolate._bsplines.BSpline",
        "scipy.sparse._csr.csr_matrix",
        "sklearn._loss.loss.HalfTweedieLossIdentity",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.cluster._bisect_k_means._BisectingTree",
        "sklearn.cluster._kmeans._kmeans_single_lloyd",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.feature_selection._univariate_selection.f_regression",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.metrics._classification.balanced_accuracy_score",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.metrics._scorer._CurveScorer",
        "sklearn.metrics._scorer._PassthroughScorer",
        "sklearn.metrics._scorer._Scorer",
        "sklearn.model_selection._split.StratifiedKFold",
        "sklearn.multiclass._ConstantPredictor",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
        "sklearn.utils._metadata_requests.MetadataRequest",
        "sklearn.utils._metadata_requests.MethodMetadataRequest",
        "xgboost.core.Booster",
        "xgboost.sklearn.XGBClassifier",
        "xgboost.sklearn.XGBRFClassifier",
        "xgboost.sklearn.XGBRFRegressor",
        "xgboost.sklearn.XGBRanker",
        "xgboost.sklearn.XGBRegressor",
    }
)


def open_file(path: Path, trust: bool) -> Any:
    """The object in a skops file.

    Raises:
        TrustError: `untrusted`: it holds types that no known framework's models are made of, and nobody trusts it.
        InputError: `malformed_request`: it cannot be opened.
    """
    check_archive(path)
    skops = framework("skops.io", "skops", "to open a skops file")
    try:
        types = sorted(skops.get_untrusted_types(file=str(path)))
    except Exception as error:  # skops raises errors of many kinds for files that are not its own
        raise _broken(path, error) from error
    strangers = [name for name in types if name not in ALLOWED]
    if strangers and not trust:
        raise TrustError(
            f"{path} holds types that may run any code: {', '.join(strangers)}",
            code="untrusted",
            hint="add --trust (in Python trust=True) if you know where it comes from",
        )
    try:
        return quietly(lambda: skops.load(str(path), trusted=types))
    except Exception as error:  # as above
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path} cannot be opened: {type(error).__name__}: {error}",
        code="malformed_request",
        hint="check that it is a skops file, made with the versions installed here",
    )
