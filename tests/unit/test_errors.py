"""The exception tree, and that it agrees with Rust's table."""

import json
import pickle

import pytest

from monorail import _core, errors


def test_every_code_has_the_class_that_rust_says():
    table = {row["code"]: row["class"] for row in json.loads(_core.error_table())}
    assert {code: kind.__name__ for code, kind in errors.CLASS_OF_CODE.items()} == table


def test_exit_status_of_every_code_is_the_one_rust_says():
    from monorail.cli.main import OURS

    assert {row["code"] for row in json.loads(_core.error_table()) if row["exit"] == 2} == OURS


def test_every_class_is_drawn_in_the_tree_and_exported():
    kinds = {kind.__name__ for kind in vars(errors).values() if isinstance(kind, type)}
    kinds = {name for name in kinds if name.endswith("Error")}
    assert kinds <= set(errors.__all__)
    for name in kinds:
        assert name in (errors.__doc__ or "")


def test_text_says_what_where_and_what_to_try():
    error = errors.error_from(
        "wrong_type",
        "2 values do not fit",
        "send numbers",
        [{"code": "wrong_type", "row": 3, "column": "distance", "expected": "int64", "got": "string"}],
        "abc",
    )
    assert str(error) == (
        "2 values do not fit\n  row 3, column 'distance': expected int64, got string\nhint: send numbers\nrequest: abc"
    )


def test_text_shows_the_first_details_only():
    details = [{"row": row, "expected": "a"} for row in range(100)]
    error = errors.error_from("wrong_type", "many", None, json.dumps(details))
    assert len(error.details) == 100
    assert str(error).endswith("and 95 more")


def test_an_unknown_code_gives_the_root():
    assert type(errors.error_from("from_the_future", "x")) is errors.MonorailError


def test_retryable_errors_share_a_parent():
    for code in ("overloaded", "draining", "not_ready", "deadline_exceeded", "unreachable"):
        assert isinstance(errors.error_from(code, "x"), errors.RetryableError)


def test_an_error_travels_between_processes_whole():
    error = errors.InputError("x", code="wrong_type", hint="y", details=[{"row": 1}], request_id="z")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is errors.InputError
    assert vars(back) == vars(error)


@pytest.mark.parametrize("kind", [errors.MonorailError, errors.InputError])
def test_code_is_required(kind):
    with pytest.raises(TypeError):
        kind("x")
