"""util/interrupts.py: Ctrl-C and TERM end a run whenever they come, without a traceback."""

import signal
import subprocess
import sys

import pytest

START = """
import os, signal, sys, time
from unibuild.util import interrupts
interrupts.install()
interrupts.exit_on_termination()
"""
WAIT = """
while True:
    time.sleep(0.01)
"""
ENDS = {signal.SIGINT: (-signal.SIGINT, "error: interrupted\n"), signal.SIGTERM: (128 + signal.SIGTERM, "")}
SIGNALS = pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)

AT = """
import sys, _signal
left = int(sys.argv[1])
del sys.argv[1]
def count(frame, event, arg):
    global left
    if event in ("call", "c_return"):
        left -= 1
        if left == 0:
            sys.setprofile(None)
            _signal.raise_signal(_signal.SIGINT)
from unibuild._fast_path import main
sys.setprofile(count)
code = main()
sys.setprofile(None)
print("calls:", -left)
sys.exit(code)
"""


@pytest.fixture
def ends(tmp_path):
    """Run Python until it ends; return its exit status and output."""

    def run(program, **modules):
        for name, text in modules.items():
            (tmp_path / f"{name}.py").write_text(text)
        argv = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{START}{program}{WAIT}"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    return run


@SIGNALS
def test_signal_in_a_finalizer_is_not_lost(ends, number):
    finalizer = f"class Last:\n    def __del__(self):\n        signal.raise_signal({int(number)})\nLast()"
    assert ends(finalizer) == ENDS[number]


@SIGNALS
def test_import_postpones_a_signal(ends, number):
    code, output = ENDS[number]
    held = f"""
import signal
class Named:
    def __set_name__(self, *_):
        signal.raise_signal({int(number)})
class Holder:
    one = Named()
"""
    assert ends("import held\nprint('imported', flush=True)", held=held) == (
        code,
        f"imported\n{output}",
    )


@SIGNALS
def test_import_without_end_does_not_postpone_for_ever(ends, number):
    endless = f"import signal, time\nsignal.raise_signal({int(number)})\n{WAIT}"
    assert ends("interrupts._LONGEST = 0.1\nimport endless", endless=endless) == ENDS[number]


def test_signal_ends_a_program_at_once_that_has_done_its_work(ends):
    assert ends("interrupts.restore()\nsignal.raise_signal(signal.SIGTERM)") == (-signal.SIGTERM, "")


@SIGNALS
def test_postponed_signal_is_not_lost_if_the_program_ends_first(ends, number):
    last = f"import signal\nsignal.raise_signal({int(number)})"
    program = "interrupts._PAUSE = 60\nimport last\nprint('done')\ninterrupts.restore()"
    assert ends(program, last=last) == (-number, "done\n")


def test_postponed_signal_that_another_handler_answers_is_not_sent_twice(ends):
    program = "import last\nanswered = []\nsignal.signal(signal.SIGINT, lambda *_: answered.append(1))\n"
    program += "while not answered:\n    time.sleep(0.01)\nsignal.signal(signal.SIGINT, interrupts._interrupt)\n"
    program += "interrupts.restore()\nos._exit(0)"
    assert ends(program, last="import signal\nsignal.raise_signal(signal.SIGINT)") == (0, "")


def test_handlers_of_the_program_are_left_alone(ends):
    own = "before = signal.signal(signal.SIGINT, signal.SIG_IGN), signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    own += "interrupts.install(); interrupts.exit_on_termination()\n"
    own += "print({*map(signal.getsignal, (signal.SIGINT, signal.SIGTERM))} == {signal.SIG_IGN}, flush=True)\n"
    own += "os._exit(0)"
    assert ends(own) == (0, "True\n")


def test_ctrl_c_at_many_moments_of_a_build(tree):
    """Send Ctrl-C at the Nth call that the main thread makes, so that the test does not depend on time."""

    def build(number):
        tree.write("main.c", str(number))
        run = tree.start("python", "-c", AT, str(number), "build")
        output, _ = run.communicate(timeout=60)
        return run.returncode, output

    calls = int(build(0)[1].rpartition("calls:")[2])
    for part in range(1, 8):
        code, output = build(calls * part // 8)
        assert code in (130, -signal.SIGINT), output
        assert not {"Traceback", "ignored"} & {*output.replace(":", " ").split()}, output
