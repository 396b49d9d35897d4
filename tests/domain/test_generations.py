"""The store of generations: the same content is the same one, numbers only grow, the good ones stay."""

import itertools
import multiprocessing
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unibuild.domain.generations import BOOTS, GenerationStore
from unibuild.errors import InputError

FACTS = {"revision": "v1-3-gabc", "toolchain": "make", "arguments": "--port=80"}


class Bench:
    """A store with a clock that ticks at every look, and files to put into it."""

    def __init__(self, folder: Path) -> None:
        ticks = itertools.count()
        self.folder = folder
        self.store = GenerationStore(
            folder, now=lambda: datetime(2026, 11, 23, tzinfo=UTC) + timedelta(seconds=next(ticks))
        )

    def add(self, kernel="one", *, memory=32, ramdisk=None, facts=FACTS, size=0):
        path, xl = self.folder / "hello.xen", self.folder / "hello.xl"
        path.write_bytes(kernel.encode() + bytes(size))
        text = f"name = 'hello'\nkernel = '{path}'\nmemory = {memory}\n"
        if ramdisk:
            (self.folder / "disk.cpio").write_text(ramdisk)
            text += f"ramdisk = '{self.folder / 'disk.cpio'}'\n"
        xl.write_text(text)
        return self.store.add(path, xl, facts)

    def boot(self, number, outcome="ready", *, host="lab"):
        uuid = f"{host}-{number}-{next(UUIDS)}"
        self.store.started(number, host, uuid, None)
        if outcome:
            self.store.ended(uuid, outcome, "")
        return uuid

    @property
    def numbers(self):
        return [one.number for one in self.store.all()]


UUIDS = itertools.count()


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_generation_keeps_the_booted_files(bench):
    one = bench.add("one", ramdisk="files")
    assert (one.kernel.read_text(), one.ramdisk.read_text()) == ("one", "files")
    assert one.xl.read_text() == (bench.folder / "hello.xl").read_text()
    assert (one.number, one.name, one.revision, one.toolchain, one.args) == (1, "hello", *FACTS.values())


def test_same_content_is_the_same_generation_with_new_facts(bench):
    first, again = bench.add("one"), bench.add("one", facts={"revision": "v2"})
    assert (first.number, again.number, bench.numbers) == (1, 1, [1])
    assert bench.store.get(1).revision == "v2"


@pytest.mark.parametrize("other", [{"kernel": "two"}, {"memory": 48}, {"ramdisk": "files"}])
def test_other_content_is_another_generation(bench, other):
    bench.add()
    assert bench.add(**other).number == 2


def test_kernels_of_equal_content_share_one_file(bench):
    first, second = bench.add(memory=32), bench.add(memory=48)
    assert first.kernel.samefile(second.kernel)


def test_kept_kernel_survives_writing_to_the_original(bench):
    one = bench.add("one")
    with (bench.folder / "hello.xen").open("r+") as file:
        file.write("two")
    assert one.kernel.read_text() == "one"
    assert bench.store.get(1) == one


def test_numbers_are_never_reused(bench):
    bench.add("one")
    bench.add("two")
    shutil.rmtree(bench.store.folder / "2")
    assert bench.add("three").number == 3
    (bench.store.folder / "count").unlink()
    assert bench.add("four").number == 4


@pytest.mark.parametrize("name", ["kernel", "domain.xl", "generation.json"])
def test_incomplete_folder_is_ignored_and_kept(bench, name):
    bench.add("one")
    bench.add("two")
    (bench.store.folder / "1" / name).unlink()
    assert (bench.numbers, bench.add("three").number) == ([2], 3)
    assert (bench.store.folder / "1").is_dir()
    with pytest.raises(InputError, match=r"\b1\b"):
        bench.store.get(1)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 0}', '{"version": 1, "files": 3}'])
def test_unreadable_description_is_ignored(bench, text):
    bench.add("one")
    (bench.store.folder / "1" / "generation.json").write_text(text)
    assert (bench.numbers, bench.add("one").number) == ([], 2)


def test_changed_kernel_is_refused(bench):
    bench.boot(bench.add("one").number)
    bench.boot(bench.add("two").number)
    kernel = bench.store.folder / "2" / "kernel"
    kernel.chmod(0o644)
    kernel.write_text("owt")
    assert bench.store.last_good("lab").number == 1
    with pytest.raises(InputError, match=r"\b2\b"):
        bench.store.get(2)
    assert bench.add("two").number == 3


def test_unknown_number_is_an_error_that_lists_the_known_ones(bench):
    bench.add("one")
    bench.add("two")
    with pytest.raises(InputError, match=r"\b7\b") as caught:
        bench.store.get(7)
    assert caught.value.hint.endswith("1, 2")


def test_leftovers_of_a_killed_run_are_removed(bench):
    bench.add("one")
    for name in (".2.tmp", ".9.gone"):
        (bench.store.folder / name).mkdir()
        (bench.store.folder / name / "kernel").write_text("half")
    bench.add("two")
    assert sorted(path.name for path in bench.store.folder.iterdir()) == ["1", "2", "count"]


def test_boot_is_recorded_with_its_outcome(bench):
    bench.add()
    bench.store.started(1, "lab", "u1", bench.folder / "hello.log")
    (boot,) = bench.store.get(1).boots
    assert (boot.outcome, boot.good, boot.log) == ("started", False, str(bench.folder / "hello.log"))
    bench.store.ended("u1", "ready", "was ready after 0.8 s")
    (boot,) = bench.store.get(1).boots
    assert (boot.host, boot.outcome, boot.why, boot.good) == ("lab", "ready", "was ready after 0.8 s", True)


@pytest.mark.parametrize(
    ("outcomes", "good"),
    [
        ([], False),
        (["not ready"], False),
        (["ready", "replaced"], True),
        (["ready", "crashed"], True),
        (["running"], True),
        (["running", "replaced"], True),
        (["running", "crashed"], False),
        (["crashed"], False),
    ],
)
def test_boot_is_good_if_ready_or_ran_without_failing(bench, outcomes, good):
    bench.add()
    uuid = bench.boot(1, None)
    for outcome in outcomes:
        bench.store.ended(uuid, outcome, "")
    assert (bench.store.last_good("lab") is not None) == good


def test_outcome_of_an_unknown_domain_changes_nothing(bench):
    bench.boot(bench.add().number)
    before = bench.store.all()
    bench.store.ended("unknown", "crashed", "")
    assert bench.store.all() == before


def test_last_good_generation_is_the_one_booted_last(bench):
    for kernel in ("one", "two", "three"):
        bench.boot(bench.add(kernel).number)
    bench.boot(1)
    assert bench.store.last_good("lab").number == 1
    assert bench.store.last_good("lab", before=3).number == 1
    assert bench.store.last_good("lab", before=1) is None
    assert bench.store.last_good("xen1") is None


def test_old_boots_are_dropped_except_the_last_good_of_each_host(bench):
    bench.add()
    bench.boot(1, host="xen1")
    for _ in range(BOOTS + 5):
        bench.boot(1, "crashed")
    assert len(bench.store.get(1).boots) == BOOTS + 1
    assert bench.store.last_good("xen1").number == 1


def test_boot_of_a_removed_generation_is_an_error(bench):
    with pytest.raises(InputError, match=r"\b1\b"):
        bench.store.started(1, "lab", "u", None)


def _fill(folder, text):
    for n in range(5):
        mine = folder / text
        mine.mkdir(exist_ok=True)
        (mine / "k").write_text(f"{text}{n}")
        (mine / "x").write_text(f"name = 'x'\nkernel = '{mine / 'k'}'\n")
        one = GenerationStore(folder).add(mine / "k", mine / "x", {})
        GenerationStore(folder).started(one.number, text, f"{text}{n}", None)
        GenerationStore(folder).ended(f"{text}{n}", "ready", "")


def test_concurrent_writers_lose_nothing(tmp_path):
    spawn = multiprocessing.get_context("fork")
    runs = [spawn.Process(target=_fill, args=(tmp_path, text)) for text in ("a", "b", "c")]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    found = GenerationStore(tmp_path).all()
    assert [one.number for one in found] == list(range(1, 16))
    assert all(boot.good for one in found for boot in one.boots)
    assert sorted(boot.uuid for one in found for boot in one.boots) == [f"{a}{n}" for a in "abc" for n in range(5)]


# --- pruning

HOSTS = ("lab", "xen1")
OUTCOMES = st.sampled_from(["ready", "running", "not ready", "crashed", None])
ADD = st.tuples(st.just("add"), st.integers(0, 6), st.integers(32, 35))
BOOT = st.tuples(st.just("boot"), st.integers(0, 20), st.sampled_from(HOSTS), OUTCOMES)
PRUNE = st.tuples(st.just("prune"), st.integers(1, 4), st.integers(1, 4), st.sets(st.integers(1, 8), max_size=2))


def protected(store, needed):
    """The numbers of what must stay, by the words of the documentation."""
    found = store.all()
    stay = {one.number for one in found[-1:]} | {one.number for one in found if one.number in needed}
    for host in HOSTS:
        boots = [(boot.at, one.number) for one in found for boot in one.boots if boot.host == host]
        stay |= {max(boots)[1]} if boots else set()
        good = store.last_good(host)
        stay |= {good.number} if good else set()
    return stay


@settings(deadline=None)  # it writes files
@given(st.lists(st.one_of(ADD, ADD, BOOT, PRUNE), max_size=14))
def test_numbers_grow_and_needed_generations_stay(tmp_path_factory, steps):
    bench = Bench(tmp_path_factory.mktemp("store"))
    highest = 0
    for kind, *how in steps:
        known = bench.numbers
        if kind == "add":
            number = bench.add(f"kernel {how[0]}", memory=how[1], size=1 << 20).number
            assert number in known or number == highest + 1
            highest = max(highest, number)
        elif kind == "boot" and known:
            bench.boot(known[how[0] % len(known)], how[2], host=how[1])
        elif kind == "prune":
            keep, size, needed = how
            stay = protected(bench.store, needed)
            bench.store.prune(keep, size, needed)
            left = {*bench.numbers}
            assert stay <= left <= {*known}
            assert len(left) <= max(keep, len(stay))
            assert left - stay == {*[n for n in reversed(known) if n not in stay][: len(left - stay)]}, "the newest"


def test_prune_keeps_the_newest_by_number_and_by_size(bench):
    for n in range(6):
        bench.add(f"kernel {n}", size=1 << 20)
    bench.store.prune(4, 100, ())
    assert bench.numbers == [3, 4, 5, 6]
    bench.store.prune(4, 3, ())
    assert bench.numbers == [5, 6]


def test_prune_counts_a_shared_kernel_once(bench):
    for memory in range(32, 38):
        bench.add(memory=memory, size=1 << 20)
    bench.store.prune(10, 2, ())
    assert len(bench.numbers) == 6
