"""One's own pandas code as the first step of a pipeline: it runs in Python processes, the rest is a graph.

Run it: python examples/pandas_features.py
"""

import tempfile
from typing import Any

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import monorail as mr


def ratios(frame: pd.DataFrame) -> pd.DataFrame:
    """How much the worst cell differs from the mean one, and how round a tumour is."""
    made = pd.DataFrame(index=frame.index)
    for name in ("radius", "texture", "area"):
        made[name] = frame[f"worst {name}"] / frame[f"mean {name}"].clip(lower=0.1)
    made["roundness"] = 4 * np.pi * frame["mean area"] / frame["mean perimeter"].clip(lower=0.1) ** 2
    made["size"] = frame["mean radius"].gt(12).astype("float64") + frame["mean radius"].gt(17)
    return made


def main() -> None:
    tumours: Any = load_breast_cancer(as_frame=True)
    X, y = tumours.data, tumours.target.map({0: "malignant", 1: "benign"})
    model = make_pipeline(
        FunctionTransformer(ratios), StandardScaler(), HistGradientBoostingClassifier(random_state=0)
    ).fit(X, y)

    with tempfile.TemporaryDirectory() as registry:
        version = mr.save(model, "tumours", example=X, registry=registry)
        print(version.engine, "because", version.reason)
        print(version.proof)
        with mr.serve("tumours", port=0, registry=registry, trust=True) as server, mr.Client(server.url) as client:
            answers = client.predict("tumours", X)

    print(answers.head())
    assert version.engine == "mixed"
    assert list(answers["label"]) == list(model.predict(X))
    np.testing.assert_allclose(np.stack(answers["probability"]), model.predict_proba(X), rtol=1e-9, atol=1e-12)


if __name__ == "__main__":
    main()
