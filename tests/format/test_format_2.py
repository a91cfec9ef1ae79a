"""Format 2 still reads: the golden bundles by the core, their manifests by the schema; damage and harm are refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from monorail import _core, errors
from monorail.engine import runtime_library
from monorail.serve.environments import command_of

GOLDEN = Path(__file__).parent / "format_2"
SCHEMA = Path(__file__).parents[2] / "docs" / "reference" / "bundle.schema.json"
NAMES = ("worker", "mixed")


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "bundle.json").read_text(encoding="utf-8"))


def conforms(value: dict[str, Any]) -> bool:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema).is_valid(value)


def rewrite(folder: Path, path: str, value: Any) -> dict[str, Any]:
    """Set the field at ``path`` of a manifest, or remove it where ``value`` is the ellipsis."""
    changed = manifest(folder)
    place: Any = changed
    *way, last = (int(key) if key.isdigit() else key for key in path.split("|"))
    for key in way:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    (folder / "bundle.json").write_text(json.dumps(changed), encoding="utf-8")
    return changed


@pytest.fixture(params=NAMES)
def copy(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return Path(shutil.copytree(GOLDEN / request.param, tmp_path / "bundle"))


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / "mixed", tmp_path / "bundle"))


def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder where files for a worker are laid out, and nothing else."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_the_golden_bundles_read(name: str) -> None:
    bundle = _core.Bundle(str(GOLDEN / name))
    assert json.loads(bundle.manifest) == manifest(GOLDEN / name)
    assert conforms(manifest(GOLDEN / name))


@pytest.mark.parametrize("name", NAMES)
def test_the_golden_rows_give_the_answers_they_came_with(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = temporary(monkeypatch, tmp_path)
    # The lock of a golden bundle cannot be had: this interpreter has all that its code imports.
    worker = command_of(sys.executable)
    engine = _core.Engine(GOLDEN / name, runtime=runtime_library(), threads=1, trusted=True, worker=worker)
    report = json.loads(engine.check_golden())
    assert report["matched"]
    assert (report["rows"], report["label_mismatches"]) == (5, 0)
    (copied,) = folder.iterdir()
    assert copied.stat().st_mode & 0o777 == 0o700
    assert (copied / "files" / "files" / "golden_worker.py").read_bytes() == (GOLDEN / name / "code.txt").read_bytes()
    del engine
    assert list(folder.iterdir()) == []


def test_without_trust_nothing_is_copied_or_run(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = temporary(monkeypatch, tmp_path)
    # Even what is missing is not looked for: the answer to "may it run" comes first.
    (copy / "code.txt").unlink()
    for manifest_text in (None, (copy / "bundle.json").read_text(encoding="utf-8")):
        with pytest.raises(errors.TrustError) as caught:
            _core.Engine(copy, runtime=runtime_library(), manifest=manifest_text)
        assert caught.value.code == "untrusted"
        assert "--trust" in (caught.value.hint or "")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("file", ["worker.json", "code.txt", "carriers.json", "requirements.txt"])
def test_damage_is_named_and_leaves_no_copy(
    copy: Path, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = temporary(monkeypatch, tmp_path)
    path = copy / file
    data = path.read_bytes()
    for damage, words in (
        (lambda: path.write_bytes(data[:-1]), "is truncated"),
        (lambda: path.write_bytes(bytes([data[0] ^ 1]) + data[1:]), "was altered"),
        (lambda: path.write_bytes(data + b"x"), "is longer"),
        (path.unlink, "is missing"),
        (lambda: path.symlink_to("/etc/passwd"), "cannot be opened"),
    ):
        damage()
        for opened in (
            lambda: _core.Bundle(str(copy)),
            lambda: _core.Engine(copy, runtime=runtime_library(), trusted=True),
        ):
            with pytest.raises(errors.BundleError, match=f"{file} {words}") as caught:
                opened()
            assert caught.value.code == "bundle_damaged"
    assert list(folder.iterdir()) == []


LAID_OUT = "stages|0|files|"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("format", 1),
        ("format", 3),
        ("stages|0|engine", "native"),
        ("stages|0|engine", "shell"),
        ("stages|0|program", ...),
        ("stages|0|program", "../worker.json"),
        ("stages|0|later", 1),
        ("stages|0|columns|0|type", "decimal"),
        ("stages|0|columns|0|seen", {"null_share": 0.5}),
        ("stages|0|columns", ...),
        ("stages|0|columns", []),
        ("stages|0|inputs|0|later", 1),
        ("stages|0|lock", "/etc/passwd"),
        ("stages|0|idempotent", "yes"),
        (LAID_OUT + "../up", "carriers.json"),
        (LAID_OUT + "/etc/cron.d/job", "carriers.json"),
        (LAID_OUT + "a/../../b", "carriers.json"),
        (LAID_OUT + "a//b", "carriers.json"),
        (LAID_OUT + "a/", "carriers.json"),
        (LAID_OUT + "a\\b", "carriers.json"),
        (LAID_OUT + "a\0b", "carriers.json"),
        (LAID_OUT + ".", "carriers.json"),
        (LAID_OUT + "/".join("d" * 17), "carriers.json"),
        (LAID_OUT + "a", "../carriers.json"),
        ("stages", []),
    ],
)
def test_schema_and_reader_refuse_the_same(mixed: Path, path: str, value: Any) -> None:
    changed = rewrite(mixed, path, value)
    assert not conforms(changed)
    with pytest.raises(errors.MonorailError) as caught:
        _core.Bundle(str(mixed))
    assert caught.value.code in ("bundle_damaged", "bundle_unsupported", "signature_invalid")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (LAID_OUT + "files/Golden_Worker.py", "graph.onnx", "only in case"),
        (LAID_OUT + "files", "graph.onnx", "as a folder"),
        (LAID_OUT + "files/points/carriers.json/x", "graph.onnx", "as a folder"),
        (LAID_OUT + "other", "carriers.json", "carriers.json for two things"),
        (LAID_OUT + "other", "worker.json", "worker.json for two things"),
        (LAID_OUT + "other", "graph.onnx", "graph.onnx for two things"),
        (LAID_OUT + "other", "golden.arrow", "golden.arrow for two things"),
        (LAID_OUT + "other", "nobody", "which its list of files lacks"),
        ("stages|0|columns|1|name", "other", 'feeds "points" into the input "points"'),
        ("stages|0|columns|1|type", "string", "as float64; the column"),
        ("stages|1|inputs|1|columns", ["carrier"], 'feeds "carrier" into the input "points"'),
        ("stages|0|inputs|0|columns", ["points"], 'feeds "points" into the input "carrier"'),
        ("stages|1|inputs|3", ..., "validity both"),
    ],
)
def test_what_the_schema_cannot_say_is_refused(mixed: Path, path: str, value: Any, words: str) -> None:
    rewrite(mixed, path, value)
    with pytest.raises(errors.BundleError, match=words) as caught:
        _core.Bundle(str(mixed))
    assert caught.value.code == "bundle_damaged"


def test_the_order_of_engines_is_the_formats(mixed: Path) -> None:
    first, second = manifest(mixed)["stages"]
    for stages, words in (
        ([second, first], "not its first stage"),
        ([first, first], "not its first stage"),
        ([second], "which is format 1"),
        ([first, second, second], "3 stages"),
    ):
        rewrite(mixed, "stages", stages)
        with pytest.raises(errors.BundleError, match=words):
            _core.Bundle(str(mixed))


def test_reading_imports_and_executes_nothing(copy: Path) -> None:
    """Code that would say so if it ran is read for its digest alone."""
    code = b"raise SystemExit('executed')\n"
    (copy / "code.txt").write_bytes(code)
    registry = copy.parent / "registry"
    draft = _core.Registry(registry).draft("hostile")
    for path in copy.iterdir():
        if path.name != "bundle.json":
            shutil.copy(path, draft.path)
    draft.publish((copy / "bundle.json").read_text(encoding="utf-8"))
    assert json.loads(_core.Bundle(draft.path).manifest)["name"] == "hostile"


def test_nothing_is_copied_where_others_could_replace_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody could rename the copy away, and put a model of their own in its place."""
    open_to_all = temporary(monkeypatch, tmp_path)
    open_to_all.chmod(0o777)
    cache = tmp_path / "cache"
    monkeypatch.setenv("MONORAIL_CACHE", str(cache))
    options = {"runtime": runtime_library(), "threads": 1, "trusted": True, "worker": command_of(sys.executable)}
    engine = _core.Engine(GOLDEN / "worker", **options)
    assert list(open_to_all.iterdir()) == []
    assert len(list((cache / "workers").iterdir())) == 1
    assert cache.stat().st_mode & 0o777 == 0o700
    del engine
    (cache / "workers").chmod(0o777)
    with pytest.raises(errors.SettingError, match="others may rename"):
        _core.Engine(GOLDEN / "worker", **options)
    assert list(open_to_all.iterdir()) == []


def test_a_large_file_is_never_held_in_memory(tmp_path: Path) -> None:
    """Claimed, published, read and laid out, in a process that says how much memory it ever had."""
    program = f"""
import json, os, resource, shutil
from pathlib import Path
from monorail import _core, errors

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

golden = Path({str(GOLDEN / "worker")!r})
draft = _core.Registry({str(tmp_path / "registry")!r}).draft("large")
for path in golden.iterdir():
    if path.name != "bundle.json":
        shutil.copy(path, draft.path)
(draft.path / "weights").touch()
os.truncate(draft.path / "weights", 256 << 20)
manifest = json.loads((golden / "bundle.json").read_text(encoding="utf-8"))
manifest["stages"][0]["files"]["weights"] = "weights"
before = peak()
draft.publish(json.dumps(manifest))
_core.Bundle(draft.path)
try:
    _core.Engine(draft.path, runtime="none", trusted=True)
except errors.MonorailError as error:
    print(error.code)
print((peak() - before) // (1 if os.uname().sysname == "Linux" else 1024))
"""
    (tmp_path / "temporary").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    ).stdout.split()
    assert done[0] == "internal", "it was laid out, and nothing says how its worker is started"
    assert int(done[1]) < 64 * 1024, "KiB"
    assert list((tmp_path / "temporary").iterdir()) == []
