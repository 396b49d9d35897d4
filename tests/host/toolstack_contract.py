"""What every toolstack must do; docs/how-to/add-a-toolstack.md says how to run it against a new one."""

from __future__ import annotations

import select
import time
import uuid
from pathlib import Path

import pytest

from unibuild.errors import DomainError
from unibuild.host.toolstack import HostQueries, Lease, NewDomainRequest

WAIT = 60.0


def wait_for(get):
    """Return the first true value of ``get()``."""
    deadline = time.monotonic() + WAIT
    while not (found := get()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def read_until(console, wanted: bytes) -> bytes:
    said = b""
    while wanted not in said:
        assert select.select([console.fd], [], [], WAIT)[0], said
        data, goes_on = console.read()
        said += data
        assert goes_on or wanted in said, said
    return said


class ToolstackContract:
    """A subclass has two fixtures.

    ``toolstack`` is the toolstack of a host without guests. ``config`` is a function that takes the lines of a guest's
    script and returns the path on the host of its configuration. The guest does what the lines say: ``say TEXT``,
    ``poweroff``, ``crash``, ``store KEY VALUE``, ``stay``, or ``obey``: write ``control/feature-poweroff`` and power
    off when asked to. It stays when it has ended.
    """

    @pytest.fixture
    def start(self, toolstack, config):
        """Return a function that creates a guest, and starts it unless told otherwise."""

        def start(*script, name="guest", paused=False):
            asked = str(uuid.uuid4())
            toolstack.create_paused(config(*script), name=name, uuid=asked)
            domain = toolstack.find(uuid=asked)
            if not paused:
                toolstack.unpause(domain)
            return domain

        return start

    @pytest.fixture
    def attach(self, toolstack):
        """Return a function that opens consoles; ``rest`` has what was read while one closed."""
        consoles = []

        def on_close(console):
            console.stop()
            while select.select([console.fd], [], [], 0)[0]:
                data, goes_on = console.read()
                attach.rest += data
                if not goes_on:
                    return

        def attach(domain):
            console = toolstack.open_console(domain, on_close=on_close)
            consoles.append(console)
            return console

        attach.rest = b""
        yield attach
        for console in consoles:
            console.close()

    def ended(self, toolstack, domain):
        return wait_for(lambda: (now := toolstack.find(uuid=domain.uuid)).has_ended and now)

    def test_it_lists_the_control_domain(self, toolstack):
        assert [domain.domid for domain in toolstack.list_domains()] == [0]

    def test_a_new_domain_is_paused_and_has_the_name_and_uuid_that_were_given(self, toolstack, start):
        domain = start("stay", name="another", paused=True)
        assert (domain.name, domain.is_paused, domain.has_ended) == ("another", True, False)
        assert toolstack.find(name="another") == domain
        assert toolstack.find(name="nobody") is None

    def test_unpause_starts_it(self, toolstack, start):
        assert not toolstack.find(uuid=start("stay").uuid).is_paused

    def test_two_domains_have_different_numbers(self, start):
        assert start("stay", name="a").domid != start("stay", name="b").domid

    def test_create_refuses_a_name_that_is_taken_and_leaves_nothing(self, toolstack, start):
        start("stay")
        with pytest.raises(DomainError):
            start("stay")
        assert len(toolstack.list_domains()) == 2

    def test_rename(self, toolstack, start):
        domain = start("stay")
        toolstack.rename(domain, "renamed")
        assert toolstack.find(name="renamed").uuid == domain.uuid

    def test_rename_refuses_a_name_that_is_taken(self, toolstack, start):
        start("stay", name="a")
        with pytest.raises(DomainError):
            toolstack.rename(start("stay", name="b"), "a")
        assert toolstack.find(name="b")

    def test_destroy_removes_a_domain_and_ignores_one_that_is_gone(self, toolstack, start):
        domain = start("stay")
        toolstack.destroy(domain)
        toolstack.destroy(domain)
        assert toolstack.find(uuid=domain.uuid) is None

    def test_destroy_refuses_the_control_domain(self, toolstack):
        with pytest.raises(DomainError):
            toolstack.destroy(toolstack.list_domains()[0])

    def test_the_hint_names_the_domain(self, toolstack, start):
        domain = start("stay")
        hint = toolstack.destroy_hint(domain)
        assert any(word in hint for word in (str(domain.domid), domain.name, domain.uuid))

    @pytest.mark.parametrize(("how", "reason"), [("poweroff", 0), ("crash", 3)])
    def test_a_domain_that_ended_stays_with_its_reason(self, toolstack, start, how, reason):
        assert self.ended(toolstack, start(how)).reason == reason

    def test_shut_down_waits_for_the_end(self, toolstack, start):
        domain = start("obey")
        wait_for(lambda: toolstack.store.read(f"/local/domain/{domain.domid}/control/feature-poweroff") == "1")
        assert toolstack.shut_down(domain, WAIT)
        assert toolstack.find(uuid=domain.uuid).has_ended

    def test_shut_down_does_not_wait_for_a_domain_that_takes_no_requests(self, toolstack, start):
        began = time.monotonic()
        assert not toolstack.shut_down(start("stay"), 10 * WAIT)
        assert time.monotonic() - began < WAIT

    def test_a_shutdown_can_be_requested_without_waiting(self, toolstack, start):
        domain = start("obey")
        wait_for(lambda: toolstack.store.read(f"/local/domain/{domain.domid}/control/feature-poweroff") == "1")
        toolstack.request_shutdown(domain)
        assert self.ended(toolstack, domain).reason == 0

    def wait_until_it_obeys(self, toolstack, domain):
        path = f"/local/domain/{domain.domid}/control/feature-poweroff"
        wait_for(lambda: toolstack.store.read(path) == "1")

    def test_hand_over_starts_the_new_domain_once_the_old_one_has_ended(self, toolstack, start):
        old, new = start("obey", name="old"), start("stay", name="new", paused=True)
        self.wait_until_it_obeys(toolstack, old)
        assert 0 <= toolstack.hand_over(old, new, WAIT) < WAIT
        assert toolstack.find(uuid=old.uuid).has_ended
        assert not toolstack.find(uuid=new.uuid).is_paused

    def test_hand_over_leaves_both_as_they_are_where_the_old_one_takes_no_requests(self, toolstack, start):
        old, new = start("stay", name="old"), start("stay", name="new", paused=True)
        assert toolstack.hand_over(old, new, 10 * WAIT) is None
        assert not toolstack.find(uuid=old.uuid).has_ended
        assert toolstack.find(uuid=new.uuid).is_paused

    def test_launch_creates_a_paused_domain_with_an_owner(self, toolstack, config):
        asked, entry = str(uuid.uuid4()), ("/unibuild/domains/x", "ann")
        domain = toolstack.launch(NewDomainRequest(Path(config("stay")), "guest", "guest", asked, entry))
        assert (domain.name, domain.uuid, domain.is_paused) == ("guest", asked, True)
        assert toolstack.store.read(entry[0]) == "ann"

    def test_launch_renames_both_domains_or_none(self, toolstack, config, start):
        old, asked = start("stay"), str(uuid.uuid4())
        renames = ((str(old.domid), "guest.old"), ("guest.new", "guest"))
        entry = ("/unibuild/domains/x", "ann")
        new = toolstack.launch(NewDomainRequest(Path(config("stay")), "guest", "guest.new", asked, entry, renames))
        names = (toolstack.find(uuid=old.uuid).name, new.name)
        assert names in (("guest.old", "guest"), ("guest", "guest.new"))

    def test_launch_refuses_a_name_that_is_taken(self, toolstack, config, start):
        start("stay")
        with pytest.raises(DomainError):
            toolstack.launch(
                NewDomainRequest(Path(config("stay")), "guest", "guest", str(uuid.uuid4()), ("/unibuild/a", "b"))
            )
        assert len(toolstack.list_domains()) == 2

    def test_a_survey_takes_the_lease_and_reports_the_host(self, toolstack, start):
        domain = start("stay")
        listing, facts = toolstack.survey(
            Lease("/unibuild/a/b", "before", 1000.0, "after", "/unibuild"), HostQueries("guest")
        )
        assert listing.entries["/unibuild/a/b"].split()[::2] == ["before", "after"]
        assert domain.uuid in {one.uuid for one in facts.domains}
        assert facts.info["free_memory"] == toolstack.info()["free_memory"]

    def test_clean_up_leaves_no_domain_no_entry_and_no_copy(self, toolstack, start, tmp_path):
        domain, path = start("stay"), "/unibuild/domains/x"
        (tmp_path / "kernel").write_text("kernel")
        toolstack.put(tmp_path / "kernel", folder="guest")
        toolstack.store.write(path, "ann")
        assert toolstack.clean_up([domain], [path], {"guest": ()}) == ()
        assert (toolstack.find(uuid=domain.uuid), toolstack.store.read(path)) == (None, None)
        toolstack.clean_up([domain], [path], {"guest": ()})

    def test_the_console_has_the_output_from_the_first_byte(self, toolstack, start, attach):
        domain = start("say one", "say two", "stay", paused=True)
        console = attach(domain)
        toolstack.unpause(domain)
        assert read_until(console, b"two").split() == [b"one", b"two"]
        assert not console.is_refused

    def test_the_console_of_a_domain_that_has_ended_can_be_read(self, toolstack, start, attach):
        domain = start("say last", "poweroff")
        self.ended(toolstack, domain)
        assert read_until(attach(domain), b"last").split() == [b"last"]

    def test_the_next_console_goes_on_where_the_last_one_stopped(self, toolstack, start, attach):
        domain = start("say one", "obey two", paused=True)
        first = attach(domain)
        toolstack.unpause(domain)
        said = read_until(first, b"one")
        first.close()
        wait_for(lambda: toolstack.shut_down(domain, WAIT))
        assert (said + attach.rest + read_until(attach(domain), b"two")).split() == [b"one", b"two"]

    def test_the_watch_reports_that_a_domain_ended(self, toolstack, start, attach):
        domain = start("poweroff", paused=True)
        console = attach(domain)
        toolstack.unpause(domain)
        while not toolstack.find(uuid=domain.uuid).has_ended:
            assert select.select([console.watch_fd], [], [], WAIT)[0]
            console.read_watch()

    def test_the_store_holds_values(self, toolstack):
        store, path = toolstack.store, "/unibuild/test/a@2e-b_C"
        assert store.read(path) is None
        store.write(path, "a value with spaces: %22")
        assert store.read(path) == "a value with spaces: %22"
        store.write(path, "another")
        assert store.read(path) == "another"
        store.remove("/unibuild/test")
        store.remove("/unibuild/test")
        assert store.read(path) is None

    def test_the_store_lists_what_is_below_a_path(self, toolstack):
        store = toolstack.store
        for path in ("/unibuild/a/b", "/unibuild/c", "/unibuildx"):
            store.write(path, path)
        listing = store.list("/unibuild")
        assert {path: value for path, value in listing.entries.items() if value} == {
            "/unibuild/a/b": "/unibuild/a/b",
            "/unibuild/c": "/unibuild/c",
        }
        assert abs(listing.now - time.time()) < WAIT
        assert store.list("/nothing").entries == {}

    def test_a_lease_ends_by_the_clock_of_the_host(self, toolstack):
        listing = toolstack.store.write_lease("/unibuild/a/b", "before it", 1000.0, "after it", root="/unibuild")
        *before, end, after, it = listing.entries["/unibuild/a/b"].split()
        assert (before, after, it) == (["before", "it"], "after", "it")
        assert abs(float(end) - listing.now - 1000) < WAIT

    def test_a_guest_writes_to_its_part_of_the_store(self, toolstack, start):
        domain = start("store data/ready yes", "stay")
        assert wait_for(lambda: toolstack.store.read(f"/local/domain/{domain.domid}/data/ready")) == "yes"

    def test_info_has_the_memory_and_the_capabilities(self, toolstack):
        facts = toolstack.info()
        assert facts["xen_caps"].split()
        assert 0 < toolstack.free_memory(facts, toolstack.list_domains()) <= int(facts["total_memory"])

    def test_a_host_without_guests_has_no_devices_of_them(self, toolstack):
        assert (tuple(toolstack.list_devices()), tuple(toolstack.assignable_pci())) == ((), ())

    def test_one_diagnostic_is_the_log(self, toolstack):
        answers = {one.name: one.query(WAIT) for one in toolstack.diagnostics()}
        assert all(answers.values())
        (log,) = (one.name for one in toolstack.diagnostics() if one.is_log)
        assert answers[log].splitlines()[-1] in toolstack.hypervisor_log()

    def test_it_names_its_programs(self, toolstack):
        assert toolstack.name
        assert all(toolstack.programs.values())

    def test_a_file_is_put_and_discarded(self, toolstack, tmp_path):
        (tmp_path / "kernel").write_text("kernel")
        assert toolstack.put(tmp_path / "kernel", folder="guest").startswith("/")
        assert toolstack.discard("guest") == ()
