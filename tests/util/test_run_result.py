"""A child unibuild passes its result to its parent as fields, never as messages to parse."""

import json
import os

import msgspec
import pytest

from unibuild import errors
from unibuild.doit_plugin.tasks import Failed
from unibuild.util import run_result
from unibuild.util.failure import Failure

ERRORS = [
    errors.NotReadyError("hello was not ready", hint="look"),
    errors.XlSyntaxError("unterminated string", path="hello.xl", line=12, column=8),
    errors.CommandError(["xl", "create"], 3, "words"),
    errors.AwsError("EC2 refused", code="UnauthorizedOperation", passing=True),
]


@pytest.fixture
def child(monkeypatch):
    """Start a result as a child does; return a function that ends it and returns what the parent receives."""
    monkeypatch.setattr(run_result, "_result", run_result.Result())
    pipe, other = os.pipe()
    monkeypatch.setenv(run_result.DESCRIPTOR, str(other))
    run_result.begin()
    assert (run_result.DESCRIPTOR in os.environ, os.get_inheritable(other)) == (False, False)

    def end() -> run_result.Result:
        run_result.send()
        return run_result.read(pipe)

    return end


def test_result_has_the_domain_and_the_last_message(child):
    run_result.note(sentence="one")
    run_result.note(sentence="two", domid=7)
    assert child() == run_result.Result("two", 7, None)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.kind)
def test_error_is_sent_as_its_kind_and_fields(child, error):
    run_result.note_failure(error)
    run_result.note_failure(errors.UnibuildError("what came of it"))
    failure = child().failure
    assert (failure.kind, failure.message, failure.exit_code) == (error.kind, error.message, error.exit_code)
    assert failure.fields == json.loads(json.dumps(error.fields))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.kind)
def test_doit_passes_errors_on_unchanged(error):
    handed_on = Failed(error).error()
    assert (type(handed_on), handed_on.fields, handed_on.exit_code) == (type(error), error.fields, error.exit_code)
    assert (handed_on.message, handed_on.hint) == (error.message, error.hint)


@pytest.mark.parametrize("kind", errors.KINDS.values(), ids=lambda kind: kind.__name__)
def test_each_class_of_error_is_rebuilt(kind):
    error = kind.__new__(kind)
    errors.UnibuildError.__init__(error, "it failed", hint="look")
    vars(error).update(line=3, argv=["a"], code="")
    sent = msgspec.json.decode(msgspec.json.encode(Failure.of(error)), type=Failure).rebuild()
    assert (type(sent), vars(sent), sent.exit_code) == (
        kind,
        {**vars(error), "exit_code": kind.exit_code},
        kind.exit_code,
    )


def test_error_of_a_newer_unibuild_is_rebuilt_as_the_base_class():
    error = Failure("NewerError", "it failed", "look", 9).rebuild()
    assert (type(error), error.message, error.hint, error.exit_code) == (errors.UnibuildError, "it failed", "look", 9)


def sent(content):
    pipe, other = os.pipe()
    os.write(other, content)
    os.close(other)
    return run_result.read(pipe)


def test_child_that_was_killed_has_no_result():
    assert sent(b"") == run_result.Result()


@pytest.mark.parametrize("content", [b'{"sentence": "cut o', b'{"sentence": "from the future", "version": 2}', b"[]"])
def test_result_that_cannot_be_read_is_a_failure(content):
    assert sent(content).failure.kind == "UnibuildError"


def test_nothing_is_written_without_a_parent(monkeypatch):
    monkeypatch.delenv(run_result.DESCRIPTOR, raising=False)
    run_result.begin()
    run_result.send()
