"""What the loop is told when a domain is put in place."""

from unibuild.watch.console_thread import PassthroughFlag
from unibuild.watch.domain import DomainController


def test_a_fault_of_our_own_is_a_failure_in_a_sentence_for_the_loop_waits_for_an_answer():
    result = DomainController([].append, PassthroughFlag()).put_in_place(None, force=False)
    assert (result.outcome, result.is_again) == ("failed", False)
    assert result.error.message.startswith("the domain was not put in place: AttributeError")
