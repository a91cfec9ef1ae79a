"""A scikit-learn pipeline over strings, numbers and missing values: fit, save, serve, ask.

Run it: python examples/mixed_pipeline.py
"""

import tempfile

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import monorail as mr


def passengers(rows: int = 2_000) -> tuple[pd.DataFrame, pd.Series]:
    """Made-up passengers of a ferry, some without an age or a harbour, and whether each will be seasick."""
    random = np.random.default_rng(42)
    frame = pd.DataFrame(
        {
            "harbour": random.choice(["Ystad", "Rønne", "Sassnitz"], rows),
            "cabin": random.choice(["none", "inside", "outside"], rows),
            "age": np.round(random.gamma(4.0, 10.0, rows)),
            "waves_m": random.gamma(2.0, 0.8, rows),
        }
    )
    frame.loc[random.random(rows) < 0.1, "age"] = np.nan
    frame.loc[random.random(rows) < 0.05, "harbour"] = None
    risk = frame["waves_m"] - 0.02 * frame["age"].fillna(40) + 0.5 * (frame["cabin"] == "inside")
    return frame, pd.Series(np.where(risk + random.normal(0, 0.3, rows) > 1.2, "seasick", "fine"))


def main() -> None:
    X, y = passengers()
    words = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="unknown"), OneHotEncoder(handle_unknown="ignore")
    )
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    prepare = make_column_transformer(
        (words, ["harbour"]),
        (OneHotEncoder(handle_unknown="ignore"), ["cabin"]),
        (numbers, ["age", "waves_m"]),
        sparse_threshold=0,
    )
    model = make_pipeline(prepare, HistGradientBoostingClassifier(random_state=0)).fit(X, y)

    with tempfile.TemporaryDirectory() as registry:
        version = mr.save(model, "ferry", example=X, registry=registry, metrics={"accuracy": model.score(X, y)})
        print(version.signature)
        print(version.proof)

        with mr.serve("ferry", port=0, registry=registry) as server, mr.Client(server.url) as client:
            # A record in, a record out; what is not known may be left out or None.
            print(client.predict("ferry", {"harbour": None, "cabin": "inside", "waves_m": 3.5}))
            # A frame in, a frame out, with its index.
            answers = client.predict("ferry", X.tail(5))
            print(answers)
            assert list(answers["label"]) == list(model.predict(X.tail(5)))


if __name__ == "__main__":
    main()
