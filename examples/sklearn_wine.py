"""scikit-learn: an ensemble behind a scaler, on the wines that scikit-learn ships.

Run it: python examples/sklearn_wine.py
"""

import tempfile
from typing import Any

import numpy as np
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import monorail as mr


def main() -> None:
    wines: Any = load_wine(as_frame=True)
    names = wines.target.map(dict(enumerate(wines.target_names)))
    # Every other wine is kept to ask about.
    X, y, held_out = wines.data[::2], names[::2], wines.data[1::2]
    voters = [("forest", RandomForestClassifier(50, random_state=0)), ("logistic", LogisticRegression())]
    model = make_pipeline(StandardScaler(), VotingClassifier(voters, voting="soft")).fit(X, y)

    with tempfile.TemporaryDirectory() as registry:
        version = mr.save(model, "wine", example=X, registry=registry)
        print(version.proof)
        with mr.serve("wine", port=0, registry=registry) as server, mr.Client(server.url) as client:
            answers = client.predict("wine", held_out)

    print(answers.head())
    assert version.engine == "native"
    assert list(answers["label"]) == list(model.predict(held_out))
    expected = model.predict_proba(held_out)
    np.testing.assert_allclose(np.stack(answers["probability"]), expected, rtol=1e-9, atol=1e-9)


if __name__ == "__main__":
    main()
