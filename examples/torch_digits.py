"""PyTorch: a small convolutional network that reads the handwritten digits that scikit-learn ships.

Run it: python examples/torch_digits.py
"""

import tempfile
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from sklearn.datasets import load_digits
from torch import nn  # pyright: ignore[reportMissingImports]

import monorail as mr


class Reader(nn.Module):
    """Images of 8 x 8 in; the digit, and how likely each is, out."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(144, 10)
        )

    def forward(self, image: Any) -> dict[str, Any]:
        logits = self.layers(image[:, None])
        return {"label": logits.argmax(1), "probability": logits.softmax(1)}


def fit(images: np.ndarray, digits: np.ndarray) -> Reader:
    """A few passes over the images."""
    torch.manual_seed(0)
    reader = Reader()
    optimizer = torch.optim.Adam(reader.parameters(), lr=0.01)
    for _ in range(15):
        for rows in torch.randperm(len(images)).split(128):
            loss = nn.functional.cross_entropy(
                reader.layers(torch.from_numpy(images)[rows, None]), torch.from_numpy(digits)[rows]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return reader


def main() -> None:
    held: Any = load_digits()
    images = held.images.astype(np.float32) / 16
    # Every fourth image is kept to ask about.
    seen = np.arange(len(images)) % 4 > 0
    X, unseen, truth = images[seen], images[~seen], held.target[~seen]
    model = fit(X, held.target[seen])

    with tempfile.TemporaryDirectory() as registry:
        version = mr.save(model, "digits", example=X, registry=registry)
        print(version.signature)
        print(version.proof)
        with mr.serve("digits", port=0, registry=registry) as server, mr.Client(server.url) as client:
            answers = client.predict("digits", unseen)

    print(f"{np.mean(answers['label'] == truth):.1%} of {len(unseen)} unseen images are read right")
    model.eval()
    with torch.no_grad():
        expected = model(torch.from_numpy(unseen))
    assert version.engine == "native"
    assert list(answers["label"]) == expected["label"].tolist()
    np.testing.assert_allclose(answers["probability"], expected["probability"], rtol=1e-5, atol=1e-5)


if __name__ == "__main__":
    main()
