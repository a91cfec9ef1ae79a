"""A stranger's ONNX graph in the form we keep: one piece, plain operators, tensors in and out."""

from __future__ import annotations

import onnx
from onnx import TensorProto

from ...errors import CompileError
from ..graph import IR_VERSION

_DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}
#: Older graphs are brought up to this version; later ones stay as they are.
_OLDEST = 13
_HINT = "export the model with standard ONNX operators"


def normalise(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with initialisers inside and no longer inputs, no maps as outputs, no local functions, and no remarks.

    Raises:
        CompileError: `cannot_compile`: data outside the file, or an unknown domain.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    _refuse(made)
    if made.functions:
        from onnx import inliner

        made = inliner.inline_local_functions(made)
        del made.functions[:]
    graph = made.graph
    given = {tensor.name for tensor in graph.initializer}
    _keep(graph.input, [entry for entry in graph.input if entry.name not in given])
    _without_maps(graph)
    _with_erf(graph)
    del graph.value_info[:]
    del made.metadata_props[:]
    del graph.metadata_props[:]
    made.doc_string = graph.doc_string = ""
    for node in graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    made.ir_version = IR_VERSION
    made = _version(made)
    made.ir_version = IR_VERSION
    return made


def check(model: onnx.ModelProto) -> None:
    """Refuse a graph that is not valid.

    Raises:
        CompileError: `cannot_compile`.
    """
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise CompileError(f"the ONNX graph is not valid: {error}", code="cannot_compile", hint=_HINT) from error


def opset(model: onnx.ModelProto, domain: str = "") -> int:
    """The version of an operator set, 0 where the graph imports none."""
    found = [entry.version for entry in model.opset_import if _plain(entry.domain) == domain]
    return max(found, default=0)


def _refuse(model: onnx.ModelProto) -> None:
    """Refuse what no bundle may hold, before any of it is used."""
    for tensor in _tensors(model.graph):
        if tensor.external_data or tensor.data_location == TensorProto.EXTERNAL:
            raise CompileError(
                f"the tensor `{tensor.name}` of the graph lies outside the model",
                code="cannot_compile",
                hint="load it with its data: onnx.load(path)",
            )
    if model.graph.sparse_initializer:
        raise CompileError("the graph has sparse initialisers", code="cannot_compile", hint=_HINT)
    local = {function.domain for function in model.functions}
    strange = {node.domain for node in _nodes(model.graph)} - _DOMAINS - local
    if strange:
        names = ", ".join(sorted(strange))
        raise CompileError(
            f"the graph uses operators of {names}, which the engine does not have", code="cannot_compile", hint=_HINT
        )


def _tensors(graph: onnx.GraphProto) -> list[TensorProto]:
    found = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            found += [attribute.t, *attribute.tensors]
            for inner in (attribute.g, *attribute.graphs):
                found += _tensors(inner)
    return found


def _nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    found = list(graph.node)
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                found += _nodes(inner)
    return found


def _without_maps(graph: onnx.GraphProto) -> None:
    """Outputs that are lists of dicts become the matrix that the dicts are made of, under the same name."""
    outputs = {entry.name for entry in graph.output}
    maps = [node for node in graph.node if node.op_type == "ZipMap" and node.output[0] in outputs]
    if not maps:
        return
    for node in maps:
        name = node.output[0]
        graph.node.append(onnx.helper.make_node("Identity", [node.input[0]], [name]))
        entry = next(entry for entry in graph.output if entry.name == name)
        entry.CopyFrom(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    _keep(graph.node, [node for node in graph.node if node not in maps])


def _with_erf(graph: onnx.GraphProto) -> None:
    """TensorFlow's Erfc, which tf2onnx passes on although ONNX has no such operator, as 1 - Erf."""
    nodes = []
    for node in graph.node:
        if node.op_type != "Erfc" or node.domain not in ("", "ai.onnx"):
            nodes.append(node)
            continue
        name = node.output[0]
        one = onnx.helper.make_tensor(f"{name}/one", TensorProto.FLOAT, [], [1.0])
        nodes += [
            onnx.helper.make_node("Constant", [], [f"{name}/one"], value=one),
            onnx.helper.make_node("CastLike", [f"{name}/one", node.input[0]], [f"{name}/one_alike"]),
            onnx.helper.make_node("Erf", [node.input[0]], [f"{name}/erf"]),
            onnx.helper.make_node("Sub", [f"{name}/one_alike", f"{name}/erf"], [name]),
        ]
    _keep(graph.node, nodes)


def _version(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with each operator set imported once, and operators that are not very old."""
    versions: dict[str, int] = {}
    for entry in model.opset_import:
        domain = _plain(entry.domain)
        if domain in _DOMAINS:
            versions[domain] = max(versions.get(domain, 0), entry.version)
    used = {_plain(node.domain) for node in _nodes(model.graph)} | {""}
    del model.opset_import[:]
    # Newer graphs may need operator sets for the few nodes we put around them, so the plain one is always there.
    versions.setdefault("", _OLDEST)
    model.opset_import.extend(
        onnx.helper.make_opsetid(domain, version) for domain, version in sorted(versions.items()) if domain in used
    )
    if versions[""] >= _OLDEST:
        return model
    try:
        return onnx.version_converter.convert_version(model, _OLDEST)
    except (RuntimeError, ValueError, onnx.version_converter.ConvertError):
        # The converter does not know every operator; the runtime still does.
        return model


def _plain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _keep(field: object, entries: list) -> None:
    """Replaces what a repeated field holds."""
    copies = []
    for entry in entries:
        copy = type(entry)()
        copy.CopyFrom(entry)
        copies.append(copy)
    del field[:]  # type: ignore[index]
    field.extend(copies)  # type: ignore[attr-defined]
