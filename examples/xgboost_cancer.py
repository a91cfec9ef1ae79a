"""XGBoost: stopped early, so that only its best trees answer, on the tumours that scikit-learn ships.

Run it: python examples/xgboost_cancer.py
"""

import tempfile
from typing import Any

import numpy as np
import xgboost
from sklearn.datasets import load_breast_cancer

import monorail as mr


def main() -> None:
    tumours: Any = load_breast_cancer(as_frame=True)
    # Every third to fit on, every third to stop by, every third to ask about.
    (X, watched, held_out), (y, seen, truth) = (
        [values[start::3] for start in range(3)] for values in (tumours.data, tumours.target)
    )
    model = xgboost.XGBClassifier(n_estimators=300, learning_rate=0.2, early_stopping_rounds=5)
    model.fit(X, y, eval_set=[(watched, seen)], verbose=False)
    print(f"stopped after {model.best_iteration + 1} of 300 rounds, accuracy {model.score(held_out, truth):.3f}")

    with tempfile.TemporaryDirectory() as registry:
        version = mr.save(model, "tumours", example=X, registry=registry)
        print(version.proof)
        with mr.serve("tumours", port=0, registry=registry) as server, mr.Client(server.url) as client:
            answers = client.predict("tumours", held_out)

    print(answers.head())
    assert version.engine == "native"
    assert list(answers["label"]) == list(model.predict(held_out))
    expected = model.predict_proba(held_out)
    np.testing.assert_allclose(np.stack(answers["probability"]), expected, rtol=1e-5, atol=1e-5)


if __name__ == "__main__":
    main()
