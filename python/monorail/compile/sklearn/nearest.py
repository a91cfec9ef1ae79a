"""The nearest training rows as the original's search finds them: its distances to the last bit, its choice of equals.

Trees add the distance up feature by feature; a search through all rows expands the square into a product. Where rows
beyond the last neighbour are just as far, which of them counts depends on the order in which the original comes upon
them and on the heap it keeps them in, so for batches with such a row both are followed step by step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import pairwise
from ..columns import Matrix
from ..graph import Graph, Tensor
from ..pairwise import apply, points_of, scaled
from ..registry import Context

_DOUBLE = np.dtype(np.float64)
_INDEX = np.dtype(np.int64)
_BOOL = np.dtype(np.bool_)
_MOST_TURNS = 65_536
"""A bundle's graph may not loop longer; beyond so many training rows equals are taken in their order of storage."""


@dataclass(frozen=True)
class Found:
    """Neighbours of every row: which training rows, and how far; `[rows, neighbours]`."""

    indices: Tensor
    distances: Tensor


def reduced_distances(context: Context, model: Any, matrix: Matrix) -> tuple[Tensor, float]:
    """`[rows, n]`: distances before their root, in the original's arithmetic, and the power of that root."""
    graph, x = context.graph, context.reader.ordered(matrix, _DOUBLE)
    if not isinstance(model.effective_metric_, str):
        raise context.refuse(model, "its metric is a Python function")
    if hasattr(model._fit_X, "toarray") and not _searches_itself(model):
        raise context.refuse(model, "its search through sparse rows leaves open which of equally near ones count")
    points = points_of(model._fit_X)
    if model._fit_method == "brute" and model.effective_metric_ == "euclidean":
        return pairwise.searched_distances(context, x, points), 2.0
    if model._fit_method == "brute" and model.effective_metric_ == "cosine":
        apart = scaled(context, "Add", apply(context, "Neg", pairwise.cosine_similarity(context, x, points)), 1.0)
        bounds = [graph.constant(0.0), graph.constant(2.0)]
        return graph.node("Clip", [apart, *bounds], _DOUBLE, apart.width), 1.0
    return _by_feature(context, model, x, points)


def _by_feature(context: Context, model: Any, x: Tensor, points: np.ndarray) -> tuple[Tensor, float]:
    """Reduced distances added up feature by feature, and the power of the root."""
    metric, parameters = model.effective_metric_, model.effective_metric_params_
    if metric == "euclidean":
        return pairwise.squared_differences(context, x, points), 2.0
    if metric in ("manhattan", "cityblock", "l1"):
        return pairwise.manhattan(context, x, points), 1.0
    if metric in ("chebyshev", "infinity"):
        return pairwise.chebyshev(context, x, points), 1.0
    if metric == "minkowski":
        power = float(parameters["p"])
        return pairwise.powered(context, x, points, power, parameters.get("w")), power
    raise context.refuse(model, f"its metric is {metric!r}")


def to_distance(context: Context, reduced: Tensor, power: float) -> Tensor:
    """The root of reduced distances."""
    if power == 1:
        return reduced
    return apply(context, "Sqrt", reduced) if power == 2 else scaled(context, "Pow", reduced, 1.0 / power)


def search(context: Context, model: Any, matrix: Matrix, count: int) -> Found:
    """The `count` nearest training rows.

    Args:
        context: the step being compiled.
        model: a fitted neighbours estimator.
        matrix: the rows.
        count: how many neighbours.
    """
    graph, tree = context.graph, model._tree
    reduced, power = reduced_distances(context, model, matrix)
    order = np.arange(reduced.width)
    if tree is not None:
        order = np.asarray(tree.get_arrays()[1], _INDEX)
        reduced = graph.gather(reduced, order.tolist())
    # What a search holds before it has found anything: the first training row, further than any number.
    limit = np.inf if tree is not None else float(np.finfo(_DOUBLE).max)
    more = min(count + 1, reduced.width)
    values, places = _smallest(graph, reduced, more)
    if more > count and reduced.width <= _MOST_TURNS:
        last, beyond = graph.gather(values, [count - 1]), graph.gather(values, [count])
        equal = graph.node("Equal", [last, beyond], _BOOL, 1)
        short = graph.node("Less", [beyond, graph.constant(limit)], _BOOL, 1)
        tie = graph.node("And", [equal, short], _BOOL, 1)
        first = (graph.gather(values, range(count)), graph.gather(places, range(count)))
        x = context.reader.ordered(matrix, _DOUBLE)
        values, places = _settled(graph, tie, first, _Contest(context, x, reduced, model, limit))
    else:
        values, places = graph.gather(values, range(count)), graph.gather(places, range(count))
    indices = graph.node("Gather", [graph.constant(order, _INDEX), places], _INDEX, count, attributes={"axis": 0})
    found = graph.node("Less", [values, graph.constant(limit)], _BOOL, count)
    indices = graph.node("Where", [found, indices, graph.constant(0, _INDEX)], _INDEX, count)
    values = graph.node("Where", [found, values, graph.constant(limit)], _DOUBLE, count)
    return Found(indices, to_distance(context, values, power))


def _searches_itself(model: Any) -> bool:
    """Whether a search through all rows is scikit-learn's own, not numpy's partial sort, which mixes equals."""
    from sklearn.metrics._pairwise_distances_reduction import ArgKmin

    return bool(ArgKmin.is_usable_for(model._fit_X, model._fit_X, model.effective_metric_))


def _smallest(graph: Graph, values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The smallest of a row's numbers in rising order, and their places; of equals the first."""
    attributes = {"axis": 1, "largest": 0, "sorted": 1}
    kept = [(values.dtype, count), (_INDEX, count)]
    smallest, places = graph.several("TopK", [values, graph.constant([count], _INDEX)], kept, attributes=attributes)
    return smallest, places


@dataclass(frozen=True)
class _Contest:
    """What decides between equals: the rows, their distances in the order of storage, the search, its limit."""

    context: Context
    x: Tensor
    reduced: Tensor
    model: Any
    limit: float


def _settled(graph: Graph, tie: Tensor, first: tuple[Tensor, Tensor], contest: _Contest) -> tuple[Tensor, Tensor]:
    """The first of equals, or where any row of the batch has equals at its end, what the original's heap keeps."""
    count = first[0].width
    some = graph.node("ReduceMax", [graph.cast(tie, np.int32)], np.int32, -1, attributes={"keepdims": 0})
    followed, simple = graph.inner(), graph.inner()
    # Only the rows in question are followed, which are few even where the data lies on a grid.
    rows = followed.node("Squeeze", [tie, graph.constant([1], _INDEX)], _BOOL, 0)
    x, reduced = (
        followed.node("Compress", [tensor, rows], _DOUBLE, tensor.width, attributes={"axis": 0})
        for tensor in (contest.x, contest.reduced)
    )
    places = followed.node("Transpose", [followed.node("NonZero", [rows], _INDEX, 0)], _INDEX, 1)
    answers = [
        followed.node("ScatterND", [before, places, after], before.dtype, count)
        for before, after in zip(first, _follow(followed, replace(contest, x=x, reduced=reduced), count), strict=True)
    ]
    kept, read = followed.body("followed", [], answers)
    plain, also = simple.body("simple", [], first)
    values, places = graph.several(
        "If",
        [graph.cast(some, _BOOL)],
        [(_DOUBLE, count), (_INDEX, count)],
        attributes={"then_branch": kept, "else_branch": plain},
        captured=sorted({*read, *also}),
    )
    return values, places


def _follow(graph: Graph, contest: _Contest, count: int) -> tuple[Tensor, Tensor]:
    """Distances and places that are in the heap after every training row was offered to it in its turn."""
    offered = contest.reduced
    visits: Tensor | None = None
    if contest.model._tree is not None:
        ranks = _visits(graph, contest)
        visits = _smallest(graph, ranks, ranks.width)[1]
        offered = graph.node("GatherElements", [offered, visits], _DOUBLE, offered.width, attributes={"axis": 1})
    start = graph.node(
        "Mul", [graph.gather(visits or graph.cast(offered, _INDEX), [0]), graph.constant(0, _INDEX)], _INDEX, 1
    )
    ones = np.zeros((1, count), np.int64)
    places = graph.node("Add", [start, graph.constant(ones)], _INDEX, count)
    heap = graph.node("Add", [graph.cast(places, _DOUBLE), graph.constant(contest.limit)], _DOUBLE, count)
    at = graph.node("Sub", [start, graph.constant(1, _INDEX)], _INDEX, 1)
    state = _offer_all(graph, offered, (heap, places, at))
    heap, places = state[0], state[1]
    if visits is not None:
        places = graph.node("GatherElements", [visits, places], _INDEX, count, attributes={"axis": 1})
    return heap, places


def _offer_all(graph: Graph, offered: Tensor, state: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, ...]:
    """Runs the heap over all offers; every turn takes each row's next offer that its heap would keep."""
    count = state[0].width
    inner = graph.inner()
    turn = Tensor(inner.unique("turn"), _INDEX, -1)
    going = Tensor(inner.unique("going"), _BOOL, -1)
    heap, places, at = (Tensor(inner.unique("state"), tensor.dtype, tensor.width) for tensor in state)
    columns = inner.constant(np.arange(offered.width).reshape(1, -1), _INDEX)
    nearer = inner.node("Less", [offered, inner.gather(heap, [0])], _BOOL, offered.width)
    later = inner.node("Greater", [columns, at], _BOOL, offered.width)
    wanted = inner.cast(inner.node("And", [nearer, later], _BOOL, offered.width), np.int32)
    place = inner.node("ArgMax", [wanted], _INDEX, 1, attributes={"axis": 1, "keepdims": 1})
    any_ = inner.node("ReduceMax", [wanted, inner.constant([1], _INDEX)], np.int32, 1, attributes={"keepdims": 1})
    active = inner.cast(any_, _BOOL)
    value = inner.node("GatherElements", [offered, place], _DOUBLE, 1, attributes={"axis": 1})
    # A row that is done offers its own largest again, which changes nothing.
    value = inner.node("Where", [active, value, inner.gather(heap, [0])], _DOUBLE, 1)
    own = inner.node("Where", [active, place, inner.gather(places, [0])], _INDEX, 1)
    after = _push(inner, (heap, places), value, own)
    at_next = inner.node("Where", [active, place, at], _INDEX, 1)
    go_on = inner.node("ReduceMax", [any_], np.int32, -1, attributes={"keepdims": 0})
    outputs = [inner.cast(go_on, _BOOL), *after, at_next]
    body, read = inner.body("offer", [turn, going, heap, places, at], outputs, "followed")
    return graph.several(
        "Loop",
        [graph.constant(offered.width, _INDEX), "", *state],
        [(_DOUBLE, count), (_INDEX, count), (_INDEX, 1)],
        attributes={"body": body},
        captured=read,
    )


def _push(graph: Graph, heap: tuple[Tensor, Tensor], value: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """Puts a value in the place of the largest and lets it sink: larger children rise, of equals the left one."""
    values, places = heap
    count = values.width
    levels = int(np.log2(count)) if count > 1 else 0
    at = graph.node("Mul", [place, graph.constant(0, _INDEX)], _INDEX, 1)
    sinks: Tensor | None = None

    def picked(tensor: Tensor, index: Tensor) -> Tensor:
        return graph.node("GatherElements", [tensor, index], tensor.dtype, 1, attributes={"axis": 1})

    def put(tensor: Tensor, entry: Tensor) -> Tensor:
        return graph.node("ScatterElements", [tensor, at, entry], tensor.dtype, count, attributes={"axis": 1})

    for _ in range(levels):
        # Below the last child there is nothing, which is smaller than anything.
        below = graph.constant(np.full((1, count + 1), -np.inf))
        shape = graph.node("Shape", [values], _INDEX, -1, attributes={"end": 1})
        rows = graph.node("Concat", [shape, graph.constant([count + 1], _INDEX)], _INDEX, -1, attributes={"axis": 0})
        padded = graph.concat([values, graph.node("Expand", [below, rows], _DOUBLE, count + 1)])
        twice = graph.node("Mul", [at, graph.constant(2, _INDEX)], _INDEX, 1)
        left = graph.node("Add", [twice, graph.constant(1, _INDEX)], _INDEX, 1)
        right = graph.node("Add", [twice, graph.constant(2, _INDEX)], _INDEX, 1)
        one, other = picked(padded, left), picked(padded, right)
        leftward = graph.node("GreaterOrEqual", [one, other], _BOOL, 1)
        child = graph.node("Where", [leftward, left, right], _INDEX, 1)
        large = graph.node("Where", [leftward, one, other], _DOUBLE, 1)
        sinking = graph.node("Greater", [large, value], _BOOL, 1)
        sinks = sinking if sinks is None else graph.node("And", [sinks, sinking], _BOOL, 1)
        safe = graph.node("Min", [child, graph.constant(count - 1, _INDEX)], _INDEX, 1)
        values, places, at = (
            put(values, graph.node("Where", [sinks, large, value], _DOUBLE, 1)),
            put(places, graph.node("Where", [sinks, picked(places, safe), place], _INDEX, 1)),
            graph.node("Where", [sinks, safe, at], _INDEX, 1),
        )
    return put(values, value), put(places, place)


def _visits(graph: Graph, contest: _Contest) -> Tensor:
    """When the search comes upon each training row of a tree's storage, `[rows, n]`: the nearer half first."""
    _, _, nodes, bounds = (np.asarray(array) for array in contest.model._tree.get_arrays())
    nearness = _node_distances(graph, contest, nodes, bounds)
    rank: Tensor | None = None
    depth = int(np.log2(len(nodes) + 1))
    for level in range(1, depth):
        start, size = 2**level - 1, 2**level
        left = graph.gather(nearness, range(start, start + size, 2))
        right = graph.gather(nearness, range(start + 1, start + size, 2))
        second = graph.cast(graph.node("Greater", [left, right], _BOOL, size // 2), _DOUBLE)
        first = graph.arithmetic("Sub", graph.constant(1.0), second, second)
        both = graph.gather(
            graph.concat([second, first]), [half + side * (size // 2) for half in range(size // 2) for side in (0, 1)]
        )
        if rank is None:
            rank = both
        else:
            doubled = graph.node("Mul", [rank, graph.constant(2.0)], _DOUBLE, rank.width)
            doubled = graph.gather(doubled, [half for half in range(size // 2) for _ in (0, 1)])
            rank = graph.arithmetic("Add", doubled, both, both)
    leaves = nodes[2 ** (depth - 1) - 1 :]
    sizes = (leaves["idx_end"] - leaves["idx_start"]).astype(int)
    leaf = np.repeat(np.arange(len(leaves)), sizes)
    within = np.concatenate([np.arange(size) for size in sizes]).astype(_DOUBLE)
    if rank is None:
        zero = graph.node("Mul", [graph.gather(contest.reduced, [0]), graph.constant(0.0)], _DOUBLE, 1)
        return graph.node("Add", [zero, graph.constant(within.reshape(1, -1))], _DOUBLE, len(within))
    spread = graph.node(
        "Mul", [graph.gather(rank, leaf.tolist()), graph.constant(float(sizes.max()))], _DOUBLE, len(leaf)
    )
    return graph.arithmetic("Add", spread, graph.constant(within), spread)


def _node_distances(graph: Graph, contest: _Contest, nodes: np.ndarray, bounds: np.ndarray) -> Tensor:
    """The least reduced distance to each node of the tree, `[rows, nodes]`."""
    if contest.model._fit_method == "ball_tree":
        return _ball_distances(graph, contest, nodes, bounds[0])
    metric = contest.model.effective_metric_
    power = {"euclidean": 2.0, "chebyshev": np.inf, "infinity": np.inf}.get(metric, 1.0)
    if metric == "minkowski":
        power = float(contest.model.effective_metric_params_["p"])
    low, high = bounds
    count = len(low)
    total: Tensor | None = None
    for feature in range(low.shape[1]):
        column = graph.gather(contest.x, [feature])
        under = graph.node("Sub", [graph.constant(low[:, feature].copy()), column], _DOUBLE, count)
        over = graph.node("Sub", [column, graph.constant(high[:, feature].copy())], _DOUBLE, count)
        apart = graph.node("Max", [under, over, graph.constant(0.0)], _DOUBLE, count)
        if power == 2:
            apart = graph.arithmetic("Mul", apart, apart, apart)
        elif power != 1 and np.isfinite(power):
            apart = graph.node("Pow", [apart, graph.constant(power)], _DOUBLE, count)
        join = "Add" if np.isfinite(power) else "Max"
        total = apart if total is None else graph.arithmetic(join, total, apart, apart)
    if total is None:
        raise ValueError("a tree has features")
    return total


def _ball_distances(graph: Graph, contest: _Contest, nodes: np.ndarray, centres: np.ndarray) -> Tensor:
    """The least reduced distance to each ball."""
    context = replace(contest.context, graph=graph)
    reduced, power = _by_feature(context, contest.model, contest.x, np.ascontiguousarray(centres))
    apart = scaled(context, "Sub", to_distance(context, reduced, power), np.ascontiguousarray(nodes["radius"]))
    apart = scaled(context, "Max", apart, 0.0)
    if power == 1:
        return apart
    return graph.arithmetic("Mul", apart, apart, apart) if power == 2 else scaled(context, "Pow", apart, power)
