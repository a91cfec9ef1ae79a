"""``monorail save`` opens nothing that was not trusted."""

import pickle

import pytest

MARK = "opened.txt"


class Malicious:
    """What a hostile pickle would do when it is opened."""

    def __reduce__(self):
        return open, (MARK, "w")


@pytest.fixture(autouse=True)
def example(tmp_path):
    (tmp_path / "x.csv").write_text("a\n1\n")


def test_a_pickle_is_not_opened_without_trust(monorail, tmp_path):
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Malicious()))
    ran = monorail("save", "model.pkl", "--name", "m", "--example", "x.csv")
    assert ran.status == 1
    assert ran.out == ""
    assert ran.err == (
        "error: model.pkl is a pickle: opening it can run any code; "
        f"it imports {open.__module__}.open\n"
        "hint: add --trust if you know where it comes from (in Python trust=True), or save the fitted object itself\n"
    )
    assert not (tmp_path / MARK).exists()


def test_trust_opens_it_in_another_process(monorail, tmp_path):
    (tmp_path / "model.pkl").write_bytes(b"not a pickle")
    ran = monorail("save", "model.pkl", "--trust", "--name", "m", "--example", "x.csv")
    assert ran.status == 1
    assert ran.err.startswith("error: model.pkl cannot be opened: ")


def test_other_files_are_refused(monorail, tmp_path):
    (tmp_path / "model.bin").write_bytes(b"")
    ran = monorail("save", "model.bin", "--name", "m", "--example", "x.csv")
    assert (ran.status, ran.err.splitlines()[0]) == (1, "error: model.bin is of a kind that is not read")
    ran = monorail("save", "none.pkl", "--name", "m", "--example", "x.csv")
    assert (ran.status, ran.err.splitlines()[0]) == (1, "error: none.pkl does not exist")


def test_what_lies_in_the_working_folder_is_not_imported(monorail, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("json", "numpy", "onnx"):
        (tmp_path / f"{name}.py").write_text(f"open({MARK!r}, 'w')\n")
    (tmp_path / "model.onnx").write_bytes(b"none")
    ran = monorail("save", "model.onnx", "--name", "m", "--example", "x.csv")
    assert ran.err.startswith("error: model.onnx cannot be opened: ")
    assert not (tmp_path / MARK).exists()


def test_with_trust_a_pickle_may_name_a_module_beside_it(monorail, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_doubling.py").write_text(
        "class Double:\n    def predict(self, batch):\n        return batch['a']\n"
    )
    (tmp_path / "model.pkl").write_bytes(b"\x80\x04cown_doubling\nDouble\n)\x81.")
    ran = monorail("save", "model.pkl", "--trust", "--name", "m", "--example", "x.csv", "--registry", tmp_path / "r")
    assert (ran.status, ran.out) == (0, "m@1\n")
