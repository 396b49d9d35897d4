"""Results of a replacement of the domain, as the loop gets them."""

from unibuild.watch.console_thread import PassthroughFlag
from unibuild.watch.domain import DomainController


def test_bug_in_unibuild_is_a_result_because_the_loop_waits_for_one():
    result = DomainController([].append, PassthroughFlag()).put_in_place(None, force=False)
    assert (result.outcome, result.is_again) == ("failed", False)
    assert "AttributeError" in result.error.message
