"""PyTorch modules and exported programs: called as their author calls them, in evaluation mode, without gradients.

The fast path of `nn.TransformerEncoder` is off while a module is asked: with a padding mask, its answers for a row
depend on the other rows of the batch.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import CompileError
from .base import Adapter, Description, class_modules, quietly, versions
from .tensors import Port, arrange, chosen, output_names

_MODULE = "torch.nn.modules.module.Module"
_PROGRAM = "torch.export.exported_program.ExportedProgram"


class TorchAdapter(Adapter):
    """`torch.nn.Module` and `torch.export.ExportedProgram`."""

    framework = "torch"

    def recognises(self, model: object) -> bool:
        """Whether one of the two is among its bases."""
        names = class_modules(model)
        return _MODULE in names or _PROGRAM in names

    def describe(self, model: Any) -> Description:
        """What it takes; what it gives only a call tells."""
        del model
        return Description("regressor", (), (), (), versions("torch", "numpy"), (), "arrays")

    def answers(self, model: Any, frame: Any, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """What the module gives, by name; all that has a row a record where no name is given."""
        import torch  # pyright: ignore[reportMissingImports]

        entry = Entry(model)
        arrays = entry.feed(frame)
        with asking(entry.module):
            where = next((tensor.device for tensor in entry.module.parameters()), torch.device("cpu"))
            given = [torch.from_numpy(values).to(where) for values in arrays.values()]
            found = quietly(lambda: entry(list(arrays), given))
        plain = {name: tensor.detach().cpu().numpy() for name, tensor in found.items()}
        return chosen(plain, outputs, len(next(iter(arrays.values()))))


class Entry:
    """How a module is called: with which of its parameters, and what its outputs are called."""

    def __init__(self, model: Any) -> None:
        self.positional = 0
        self.any_number = False
        if _PROGRAM in class_modules(model):
            self._of_program(model)
        else:
            self._of_module(model)

    def _of_program(self, program: Any) -> None:
        """An exported program takes exactly what it was exported with, by place and by name."""
        self.module: Any = program.module()
        self.names = [(str(name), True) for name in program.graph_signature.user_inputs]
        args, kwargs = program.example_inputs or ([None] * len(self.names), {})
        self.positional = len(args)
        if kwargs:
            self.names = [*self.names[: len(args)], *((name, True) for name in kwargs)]

    def _of_module(self, module: Any) -> None:
        self.module = module
        found = inspect.signature(module.forward).parameters.values()
        plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        self.names = [(entry.name, entry.default is entry.empty) for entry in found if entry.kind in plain]
        self.any_number = not self.names

    def feed(self, frame: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays for the parameters that are given: those without a default, and others that a column is named as.

        Floats get the element type of the module's own; columns that come side by side become floats.
        """
        columns = list(frame)
        names = columns if self.any_number else [name for name, needed in self.names if needed or name in frame]
        ports = [Port(name) for name in names or [self.names[0][0]]]
        dtype = self._floating()
        fed = {}
        for port, given_by in zip(ports, arrange(ports, columns), strict=True):
            arrays = [frame[name] for name in given_by]
            values = np.column_stack(arrays) if len(arrays) > 1 else arrays[0]
            if values.ndim == 1 and given_by != [port.name]:
                values = values[:, None]
            fed[port.name] = _number(port.name, values, dtype, len(arrays) > 1)
        return fed

    def __call__(self, names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
        """Calls the module; gives its tensors by name.

        Raises:
            CompileError: `cannot_compile`: it gives no tensor.
        """
        if self.any_number:
            return named(self.module(*values))
        first = min(self.positional, len(values))
        return named(self.module(*values[:first], **dict(zip(names[first:], values[first:], strict=True))))

    def _floating(self) -> np.dtype | None:
        for tensor in self.module.parameters():
            if tensor.is_floating_point():
                return np.dtype(str(tensor.dtype).removeprefix("torch.").replace("bfloat16", "float32"))
        return None


def named(answer: Any) -> dict[str, Any]:
    """The tensors of an answer: a tensor, a tuple, a named tuple or a dict of them; what is nested is left out.

    Raises:
        CompileError: `cannot_compile`: there is none.
    """
    if isinstance(answer, Mapping):
        found = {str(name): value for name, value in answer.items()}
    elif hasattr(answer, "_asdict"):
        found = answer._asdict()
    elif isinstance(answer, tuple | list):
        found = {f"output_{number}": value for number, value in enumerate(answer)}
    else:
        found = {"prediction": answer}
    found = {name: value for name, value in found.items() if hasattr(value, "detach") and value.ndim}
    if not found:
        raise CompileError(
            f"the module gives a {type(answer).__name__} without a tensor",
            code="cannot_compile",
            hint="give tensors from forward, rows first",
        )
    by_author = isinstance(answer, Mapping) or hasattr(answer, "_asdict")
    return dict(zip(output_names(list(found), chosen=by_author), found.values(), strict=True))


@contextlib.contextmanager
def asking(module: Any) -> Iterator[None]:
    """Evaluation mode, no gradients, no fast path; everything as it was afterwards."""
    import torch  # pyright: ignore[reportMissingImports]

    modes = {part: part.training for part in module.modules()}
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    for part in modes:
        part.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for part, mode in modes.items():
            part.training = mode


def _number(name: str, values: np.ndarray, dtype: np.dtype | None, packed: bool) -> np.ndarray:
    if values.dtype.kind not in "biuf":
        raise CompileError(
            f"the module's `{name}` would be text, and torch has no tensors of text",
            code="cannot_compile",
            hint="turn text into numbers before the module",
        )
    with np.errstate(all="ignore"):
        if dtype is not None and (values.dtype.kind == "f" or packed):
            values = values.astype(dtype)
        elif values.dtype.kind == "u" and values.dtype.itemsize > 1:
            values = values.astype(np.int64)
    return np.array(values, order="C")
