"""LightGBM's training, here or in a seat of a cluster."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..learning import Block
from .categories import Categories
from .gang import Seat
from .lightgbm_data import Feed, streamed

#: Parameters that say where the other machines are; of no use once the model is trained.
NETWORK = ("machines", "num_machines", "local_listen_port", "tree_learner", "time_out")


@dataclass(frozen=True)
class Training:
    """What is asked of LightGBM.

    Attributes:
        params: Its parameters.
        rounds: Rounds of boosting.
        names: Names of the features, or "auto".
    """

    params: dict[str, Any]
    rounds: int
    names: Any


@dataclass(frozen=True)
class SeatTask:
    """What every seat of a cluster is given.

    Attributes:
        training: What is asked.
        labels: The label of each row of a block.
        weights: The weight of each row; None where all weigh the same.
        sample: The rows that the bins are found from.
        rows: How many rows all seats have.
        categories: Of columns that have some.
    """

    training: Training
    labels: Callable[[Block], np.ndarray]
    weights: Callable[[Block], np.ndarray] | None
    sample: Block
    rows: int
    categories: Categories


def trained(training: Training, feed: Feed) -> Any:
    """A ``lightgbm.Booster``, trained on the rows of a feed."""
    from lightgbm import record_evaluation, train

    rows = streamed(feed, training.params, training.names)
    if "machines" in training.params:
        # Before there is a network, over which LightGBM would have each machine find bins in rows of its own. (Bins
        # sent ready made are no way: LightGBM then loses zeros of sparse rows.)
        rows.construct()
    return train(
        params=training.params,
        train_set=rows,
        num_boost_round=training.rounds,
        valid_sets=[],
        callbacks=[record_evaluation({})],
    )


def train_seat(task: SeatTask, seat: Seat) -> tuple[str, dict[str, Any]]:
    """Train in a seat; the model's text, and its parameters but for the network's. Runs in an actor."""
    training = task.training
    if len(seat.addresses) > 1:
        network = {
            "machines": ",".join(seat.addresses),
            "num_machines": len(seat.addresses),
            "local_listen_port": int(seat.addresses[seat.rank].rpartition(":")[2]),
            "tree_learner": _parallel(training.params),
            # Minutes until a seat that hears nothing from the others gives up; a lost one is seen long before.
            "time_out": 20,
        }
        training = replace(training, params={**training.params, **network})
    feed = Feed(seat.rows, seat.blocks, task.labels, task.weights, task.sample, task.rows, task.categories)
    booster = trained(training, feed)
    params = {name: value for name, value in booster.params.items() if name not in NETWORK}
    return booster.model_to_string(), params


def booster_of(text: str, params: dict[str, Any]) -> Any:
    """The booster that a seat has trained, without the addresses of the cluster."""
    from lightgbm import Booster

    made: Any = Booster(model_str=re.sub(r"\[machines: [^]]*\]", "[machines: ]", text))
    made.params, made.best_iteration = params, 0
    return made


def _parallel(params: dict[str, Any]) -> Any:
    """How seats share the work: by rows, unless the user has said how."""
    asked = params.get("tree_learner", params.get("tree", "data"))
    return asked if asked in ("data", "data_parallel", "voting", "voting_parallel") else "data"
