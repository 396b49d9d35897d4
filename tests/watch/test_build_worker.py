"""A worker's lines and messages in one order, however the output is cut and whichever comes first."""

import itertools
import select
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibuild import errors
from unibuild.util.failure import Failure
from unibuild.watch import worker_protocol
from unibuild.watch.build_worker import BuildWorker, OutputMerger

LINES = st.text("ab\N{SNOWMAN}\x1b_u", max_size=6)


def written(items):
    """Return what a worker writes for these lines and messages."""
    return b"".join(
        worker_protocol.MARK if isinstance(one, worker_protocol.Built) else f"{one}\n".encode() for one in items
    )


@given(
    st.lists(LINES | st.builds(worker_protocol.Built, exit_code=st.integers(0, 255))),
    st.lists(st.integers(0, 200)),
    st.data(),
)
def test_lines_and_messages_keep_their_order(items, cuts, data):
    output, messages = written(items), [one for one in items if isinstance(one, worker_protocol.Built)]
    places = sorted({0, len(output), *(cut for cut in cuts if cut < len(output))})
    events = [output[a:b] for a, b in itertools.pairwise(places)]
    for message in messages:
        events.insert(data.draw(st.integers(0, len(events))), message)
    said = iter(messages)  # in their order, at those moments
    merged, found = OutputMerger(), []
    for event in events:
        merged.write(event) if isinstance(event, bytes) else merged.add_messages([next(said)])
        found += merged.take()
    assert found == items
    assert not merged.is_behind and merged.unfinished == ""


def test_unfinished_line_ends_with_its_task_and_erased_progress_is_dropped():
    merged = OutputMerger()
    merged.write(b"no end" + worker_protocol.MARK + b"50%\r100%\r    \r")
    assert merged.unfinished == "50%\r100%\r    "
    merged.write(worker_protocol.MARK)
    merged.add_messages([worker_protocol.Built(exit_code=0)] * 2)
    assert merged.take() == ["no end", *[worker_protocol.Built(exit_code=0)] * 2]


def test_message_without_its_mark_is_delivered_at_the_end():
    merged = OutputMerger()
    merged.write(b"a\n" + worker_protocol.MARK + b"b\n")
    merged.add_messages([worker_protocol.Built(exit_code=0), worker_protocol.Built(exit_code=1)])
    assert merged.take() == ["a", worker_protocol.Built(exit_code=0), "b"]
    assert merged.is_behind
    assert merged.take(all_of_it=True) == [worker_protocol.Built(exit_code=1)]


@pytest.mark.parametrize("line", ['{"message":"built","version":2,"exit_code":0}', '{"message":"unknown"}', "no JSON"])
def test_message_that_cannot_be_read_is_one_failure(tmp_path, monkeypatch, line):
    worker = tmp_path / "worker"
    worker.write_text(f"#!/bin/sh\necho before\nprintf '%s\\n' '{line}' >&0\ncat\n")
    worker.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(worker))
    heard = []
    with BuildWorker(tmp_path, "", [], lambda: None) as started:
        while not started.has_ended:
            select.select([started.talk, started.output], [], [], 60)
            heard += started.hear()
    (failure,) = [one for one in heard if isinstance(one, worker_protocol.WorkerFailure)]
    assert failure.failure.kind == "UnibuildError" and failure.failure.hint


def test_worker_sends_an_error_as_its_class_and_fields():
    sent = worker_protocol.WorkerFailure(name="build", failure=Failure.of(errors.CommandError(["make"], 2, "no rule")))
    (heard,) = worker_protocol.MessageReader().feed(worker_protocol._encoder.encode(sent) + b"\n")
    error = heard.failure.rebuild()
    assert (type(error), error.argv, error.returncode) == (errors.CommandError, ["make"], 2)
