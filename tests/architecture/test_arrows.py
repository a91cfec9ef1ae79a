"""Who may import what. The rules are the design's; each is a line here."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "python" / "monorail"
FRAMEWORKS = {
    "catboost", "joblib", "keras", "lightgbm", "mlflow", "onnxscript", "skl2onnx", "skops", "sklearn", "tensorflow",
    "tf2onnx", "torch", "xgboost",
}  # fmt: skip
CLUSTERS = {"daft", "pyspark", "ray"}
#: What only the graph side needs.
ONNX = {"onnx", "onnxruntime"}


@dataclasses.dataclass(frozen=True)
class Import:
    """One import: the file (from the package's root), the full name of what is imported, and when."""

    file: str
    name: str
    typing: bool
    top: bool

    def of(self, packages: set[str]) -> bool:
        """Whether it is of one of these top packages."""
        return self.name.partition(".")[0] in packages


def imports() -> list[Import]:
    """Every import of the package."""
    return [found for path in sorted(PACKAGE.rglob("*.py")) for found in imports_of(path)]


def imports_of(path: Path) -> list[Import]:
    """The imports of a file, relative ones resolved."""
    file = path.relative_to(PACKAGE).as_posix()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _base(path, node)
            names = [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "framework":
            # What `adapters.base.framework` imports, which says the extra where it is missing.
            names = [str(value.value) for value in ast.walk(node.args[0]) if isinstance(value, ast.Constant)]
            names = [name for name in names if name.partition(".")[0] in FRAMEWORKS | ONNX]
        else:
            continue
        found += [Import(file, name, node in typing, node in tree.body) for name in names]
    return found


def _base(path: Path, node: ast.ImportFrom) -> str:
    """The full name of the module that a ``from`` names."""
    if not node.level:
        return node.module or ""
    folder = path.parent
    for _ in range(node.level - 1):
        folder = folder.parent
    package = ".".join(["monorail", *folder.relative_to(PACKAGE).parts])
    return f"{package}.{node.module}" if node.module else package


ALL = imports()


def breaches(rule) -> list[str]:
    """Where a rule is broken."""
    return [f"{found.file}: {found.name}" for found in ALL if not rule(found)]


def inside(found: Import, *places: str) -> bool:
    """Whether an import stands in one of these files or folders."""
    return any(found.file == place or (place.endswith("/") and found.file.startswith(place)) for place in places)


def test_errors_signature_settings_and_progress_import_nothing_of_ours():
    assert not breaches(
        lambda i: (
            not inside(i, "errors.py", "signature.py", "settings.py", "progress.py")
            or not i.of({"monorail"})
            or (i.file == "signature.py" and i.name.startswith("monorail.errors"))
        )
    )


def test_only_adapters_and_converters_import_frameworks():
    def rule(found: Import) -> bool:
        converters = found.file.startswith("compile/") and found.file.count("/") > 1
        # The demo fits a model.
        return not found.of(FRAMEWORKS) or converters or inside(found, "adapters/", "fit/", "cli/demo.py", "cli/demo/")

    assert not breaches(rule)


def test_frameworks_are_imported_when_they_are_needed():
    assert not breaches(lambda i: not i.of(FRAMEWORKS) or i.typing or not i.top)


def test_only_the_cluster_side_imports_daft_ray_or_spark():
    assert not breaches(
        lambda i: (
            not i.of(CLUSTERS)
            or inside(i, "data/daft.py", "executors/ray.py", "score/", "fit/", "train/", "deploy/ray.py")
        )
    )


def test_frames_are_imported_when_one_is_there():
    assert not breaches(lambda i: not i.of({"pandas", "polars"}) or i.typing or not i.top)


def test_only_those_who_serve_import_the_core():
    assert not breaches(
        lambda i: (
            not i.name.startswith("monorail._core")
            or i.typing
            or inside(i, "serve/", "bundle/", "engine.py", "fit/", "score/", "cli/bench.py")
        )
    )


def test_onnx_is_for_the_compiler_and_its_runtime_is_not_imported():
    # But for ONNX files, whose original is the runtime's own answer.
    assert not breaches(lambda i: not i.of({"onnx"}) or inside(i, "compile/", "adapters/onnx.py"))
    assert not breaches(lambda i: not i.of({"onnxruntime"}) or inside(i, "adapters/onnx.py"))


def test_the_command_line_calls_the_public_api():
    from monorail import __all__ as public

    allowed = {
        f"monorail.{name}" for name in (*public, "errors", "settings", "data", "client", "cli", "progress", "_core")
    }
    assert not breaches(
        lambda i: not inside(i, "cli/") or not i.of({"monorail"}) or ".".join(i.name.split(".")[:2]) in allowed
    )


def test_nobody_imports_the_command_line():
    assert not breaches(lambda i: not f"{i.name}.".startswith("monorail.cli.") or inside(i, "cli/"))


@pytest.mark.parametrize(
    ("folder", "may"),
    [
        ("adapters/", {"errors", "adapters", "data"}),
        ("compile/", {"errors", "signature", "adapters", "compile", "data"}),
        ("data/", {"errors", "signature", "data"}),
        ("client/", {"errors", "signature", "data", "client"}),
        ("serve/", {"_core", "bundle", "engine", "errors", "progress", "settings", "serve"}),
        (
            "bundle/",
            {"_core", "adapters", "bundle", "compile", "data", "engine", "errors", "progress", "serve", "signature"},
        ),
        ("engine.py", {"_core", "bundle", "data", "errors", "serve", "signature"}),
    ],
)
def test_layers(folder, may):
    def rule(found: Import) -> bool:
        parts = found.name.split(".")
        return not inside(found, folder) or parts[0] != "monorail" or len(parts) < 2 or parts[1] in may

    assert not breaches(rule)


def test_the_rules_see_what_they_judge():
    """A rule that sees nothing would always pass."""
    seen = {(i.file, i.name) for i in ALL}
    assert ("signature.py", "monorail.errors.SignatureError") in seen
    assert any(i.of(FRAMEWORKS) for i in ALL)
    assert ("adapters/onnx.py", "onnxruntime") in seen
    assert any(i.name.startswith("monorail._core") for i in ALL)
    assert any(i.typing for i in ALL)
