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
_FEW = 256
"""So few training rows are compared feature by feature at once."""
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
    order = np.arange(model._fit_X.shape[0]) if tree is None else np.asarray(tree.get_arrays()[1], _INDEX)
    # What a search holds before it has found anything: the first training row, further than any number.
    limit = np.inf if tree is not None else float(np.finfo(_DOUBLE).max)
    contest = _Contest(context, context.reader.ordered(matrix, _DOUBLE), None, model, limit)
    if tree is not None and model.effective_metric_ == "euclidean" and _FEW < len(order) <= _MOST_TURNS:
        power, (values, places) = 2.0, _shortlisted(contest, points_of(model._fit_X)[order], count)
    else:
        reduced, power = reduced_distances(context, model, matrix)
        if tree is not None:
            reduced = graph.gather(reduced, order.tolist())
        values, places = _compared(replace(contest, reduced=reduced), reduced, count)
    indices = graph.node("Gather", [graph.constant(order, _INDEX), places], _INDEX, count, attributes={"axis": 0})
    found = graph.node("Less", [values, graph.constant(limit)], _BOOL, count)
    indices = graph.node("Where", [found, indices, graph.constant(0, _INDEX)], _INDEX, count)
    values = graph.node("Where", [found, values, graph.constant(limit)], _DOUBLE, count)
    return Found(indices, to_distance(context, values, power))


def _compared(contest: _Contest, reduced: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Distances and places of the nearest out of the distances to all."""
    graph = contest.context.graph
    values, places = _smallest(graph, reduced, min(count + 1, reduced.width))
    first = (graph.gather(values, range(count)), graph.gather(places, range(count)))
    if reduced.width == count or reduced.width > _MOST_TURNS:
        return first
    return _settled(graph, _equal_at_end(graph, values, count, contest.limit), first, contest)


def _equal_at_end(graph: Graph, values: Tensor, count: int, limit: float) -> Tensor:
    """Whether the row after the last neighbour is as near as that."""
    last, beyond = graph.gather(values, [count - 1]), graph.gather(values, [count])
    equal = graph.node("Equal", [last, beyond], _BOOL, 1)
    short = graph.node("Less", [beyond, graph.constant(limit)], _BOOL, 1)
    return graph.node("And", [equal, short], _BOOL, 1)


def _shortlisted(contest: _Contest, points: np.ndarray, count: int) -> tuple[Tensor, Tensor]:
    """Distances and places of the nearest, where one product finds who may be among them.

    The product's distances are off by some last digits of the lengths, and exact ones are made of those it finds
    nearest. Where others could be as near for all that is known, the row is followed through the whole search.
    """
    context, x = contest.context, contest.x
    graph, width = context.graph, min(2 * count + 16, len(points))
    lengths = np.einsum("ij,ij->i", points, points)
    rough = scaled(context, "Mul", pairwise.products(context, x, points), -2.0)
    near, candidates = _smallest(graph, scaled(context, "Add", rough, lengths), width)
    exact: Tensor | None = None
    for feature in range(points.shape[1]):
        column = graph.constant(points[:, feature].copy())
        other = graph.node("Gather", [column, candidates], _DOUBLE, width, attributes={"axis": 0})
        apart = graph.node("Sub", [graph.gather(x, [feature]), other], _DOUBLE, width)
        squared = graph.arithmetic("Mul", apart, apart, apart)
        exact = squared if exact is None else graph.arithmetic("Add", exact, squared, squared)
    if exact is None:
        raise context.refuse(contest.model, "it has no features")
    values, chosen = _smallest(graph, exact, count + 1)
    own = pairwise.squared_norms(context, x)
    rounding = 8.0 * (points.shape[1] + 8) * float(np.finfo(_DOUBLE).eps)
    error = scaled(context, "Mul", scaled(context, "Add", own, float(lengths.max())), rounding)
    others = graph.arithmetic("Sub", graph.arithmetic("Add", graph.gather(near, [width - 1]), own, own), error, own)
    sure = graph.node("Less", [graph.gather(values, [count]), others], _BOOL, 1)
    unsure = graph.node("Not", [sure], _BOOL, 1)
    asked = graph.node("Or", [unsure, _equal_at_end(graph, values, count, contest.limit)], _BOOL, 1)
    chosen = graph.gather(chosen, range(count))
    places = graph.node("GatherElements", [candidates, chosen], _INDEX, count, attributes={"axis": 1})
    first = (graph.gather(values, range(count)), places)
    return _settled(graph, asked, first, replace(contest, points=points))


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
    """What decides between equals: the rows, the search, its limit, and what is known of the distances to all.

    That is `reduced`, the distances in the order of storage, or `points`, the training rows in that order.
    """

    context: Context
    x: Tensor
    reduced: Tensor | None
    model: Any
    limit: float
    points: np.ndarray | None = None


def _settled(graph: Graph, tie: Tensor, first: tuple[Tensor, Tensor], contest: _Contest) -> tuple[Tensor, Tensor]:
    """The first of equals, or where any row of the batch has equals at its end, what the original's heap keeps."""
    count = first[0].width
    some = graph.node("ReduceMax", [graph.cast(tie, np.int32)], np.int32, -1, attributes={"keepdims": 0})
    followed, simple = graph.inner(), graph.inner()
    # Only the rows in question are followed, which are few even where the data lies on a grid.
    rows = followed.node("Squeeze", [tie, graph.constant([1], _INDEX)], _BOOL, 0)
    x = _picked(followed, contest.x, rows)
    if contest.reduced is not None:
        offered = _picked(followed, contest.reduced, rows)
    else:
        inside = replace(contest.context, graph=followed)
        offered = pairwise.squared_differences(inside, x, np.asarray(contest.points))
    places = followed.node("Transpose", [followed.node("NonZero", [rows], _INDEX, 0)], _INDEX, 1)
    answers = [
        followed.node("ScatterND", [before, places, after], before.dtype, count)
        for before, after in zip(first, _follow(followed, replace(contest, x=x), offered, count), strict=True)
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


def _picked(graph: Graph, tensor: Tensor, rows: Tensor) -> Tensor:
    return graph.node("Compress", [tensor, rows], tensor.dtype, tensor.width, attributes={"axis": 0})


def _follow(graph: Graph, contest: _Contest, offered: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Distances and places that are in the heap after every training row was offered to it in its turn."""
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
        zero = graph.node("Mul", [graph.gather(contest.x, [0]), graph.constant(0.0)], _DOUBLE, 1)
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
