"""The ways in which people, editors and programs change a tree between two builds."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kinds import Kind
    from world import World

    Edit = Callable[[World, Kind, str], object]

__all__ = ["EDITS", "GIT", "NOTHING", "SLOW"]

HOUR = 3600


def _new(world: World, kind: Kind, token: str) -> tuple[Path, str]:
    return world.path(kind.path), kind.text(kind.path, token)


# what editors do


def in_place(world, kind, token):
    path, text = _new(world, kind, f"longer-{token}")
    path.write_text(text)


def same_size(world, kind, token):
    path, text = _new(world, kind, token)
    path.write_text(text)


def twice(world, kind, token):
    same_size(world, kind, "abcd")
    same_size(world, kind, token)


def atomic(world, kind, token):
    path, text = _new(world, kind, token)
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_text(text)
    shutil.copymode(path, beside)
    beside.replace(path)


def vim(world, kind, token):
    """As vim saves: the old file becomes the backup, a new one is written."""
    path, text = _new(world, kind, token)
    kept = path.with_name(f"{path.name}~")
    path.rename(kept)
    path.write_text(text)
    shutil.copymode(kept, path)
    kept.unlink()


def droppings(world, kind, token):
    same_size(world, kind, token)
    for name in (f".{kind.path}.swp", "4913", f"{kind.path}~", f"#{kind.path}#"):
        if "/" not in name:
            world.write(name, "x")


def hard_link(world, kind, token):
    path, text = _new(world, kind, token)
    other = world.top / "other-name"
    os.link(path, other)
    other.write_text(text)
    other.unlink()


# dates


def touched(world, kind, token):
    os.utime(world.path(kind.path))


def touched_all(world, kind, token):
    for folder, _, names in os.walk(world.root):
        for name in names:
            if ".git/" not in f"{folder}/" and ".unibuild/" not in f"{folder}/":
                os.utime(os.path.join(folder, name), follow_symlinks=False)  # noqa: PTH118


def older(world, kind, token):
    same_size(world, kind, token)
    os.utime(world.path(kind.path), (1e9, 1e9))


def older_replaces(world, kind, token):
    """An older file from elsewhere takes the place, as by mv, tar or rsync."""
    path, text = _new(world, kind, token)
    other = world.top / "older"
    other.write_text(text)
    shutil.copymode(path, other)
    os.utime(other, (1.1e9, 1.1e9))
    other.replace(path)


def copied_over(world, kind, token):
    """cp -p of an older file."""
    path, text = _new(world, kind, token)
    other = world.top / "older"
    other.write_text(text)
    shutil.copymode(path, other)
    os.utime(other, (1.2e9, 1.2e9))
    shutil.copy2(other, path)


def same_date(world, kind, token):
    """Another file with the same date and size takes the place."""
    path = world.path(kind.path)
    date = path.stat().st_mtime_ns
    atomic(world, kind, token)
    os.utime(path, ns=(date, date))


def future(world, kind, token):
    same_size(world, kind, token)
    date = path_date(world) + HOUR
    os.utime(world.path(kind.path), (date, date))


def path_date(world: World) -> float:
    return world.path("Makefile").stat().st_mtime


def future_outputs(world, kind, token):
    """The clock was ahead while the last build ran."""
    date = path_date(world) + HOUR
    for path in (*world.root.rglob("*.part"), *world.root.glob("hello.xen")):
        os.utime(path, (date, date))
    same_size(world, kind, token)


# files


def reverted(world, kind, token):
    path = world.path(kind.path)
    text = path.read_bytes()
    same_size(world, kind, token)
    path.write_bytes(text)


def emptied(world, kind, token):
    world.path(kind.path).write_text("")


def mode(world, kind, token):
    path = world.path(kind.path)
    path.chmod(path.stat().st_mode ^ 0o100)
    path.chmod(path.stat().st_mode ^ 0o100)
    path.chmod(0o755)


def executable(world, kind, token):
    """Give the right to run the file, or take it; what packs files into an archive packs that too."""
    path = world.path(kind.path)
    path.chmod(path.stat().st_mode ^ 0o111)


def removed(world, kind, token):
    world.path(kind.path).unlink()


def renamed_and_back(world, kind, token):
    path = world.path(kind.path)
    away = path.with_name("away")
    path.rename(away)
    world.unibuild()
    away.rename(path)


def link_instead(world, kind, token):
    path, text = _new(world, kind, token)
    target = world.around / f"target-of-{kind.name}"
    target.write_text(text)
    target.chmod(path.stat().st_mode)
    path.unlink()
    path.symlink_to(os.path.relpath(target, path.parent))


def link_retargeted(world, kind, token):
    """A symbolic link leads to another file, which is older than what was made."""
    link_instead(world, kind, "abcd")
    world.unibuild()
    path, text = _new(world, kind, token)
    target = world.around / f"other-target-of-{kind.name}"
    target.write_text(text)
    target.chmod(path.stat().st_mode)
    os.utime(target, (1e9, 1e9))
    path.unlink()
    path.symlink_to(os.path.relpath(target, path.parent))


def folder_instead(world, kind, token):
    path = world.path(kind.path)
    path.unlink()
    path.mkdir()


def folder_renamed_and_back(world, kind, token):
    folder = world.path(kind.path).parent
    if world.root.is_relative_to(folder.resolve()):
        return renamed_and_back(world, kind, token)
    away = folder.with_name("renamed")
    folder.rename(away)
    world.unibuild()
    away.rename(folder)
    return None


def touched_back(world, kind, token):
    """`touch -d`: an older date, and the same content."""
    os.utime(world.path(kind.path), (1.3e9, 1.3e9))


def unrelated(world, kind, token):
    world.write("README", token)


def added(world, kind, token):
    """A new file next to the edited one; a kind that takes all files of a folder takes this one too."""
    path, text = _new(world, kind, token)
    path.with_name(f"new{path.suffix}").write_text(text)


def folder_replaced(world, kind, token):
    path, text = _new(world, kind, token)
    folder = path.parent
    if world.root.is_relative_to(folder.resolve()):
        return same_size(world, kind, token)
    shutil.copytree(folder, world.top / "folder", symlinks=True)
    folder.rename(world.top / "folder-before")
    (world.top / "folder").rename(folder)
    shutil.rmtree(world.top / "folder-before")
    path.write_text(text)
    return None


# the build


def plain_make(world, kind, token):
    same_size(world, kind, token)
    world.run("make")


def plain_make_all(world, kind, token):
    world.run("make", "-B", check=False)  # `mkdir oo` fails where the folder exists


def cleaned(world, kind, token):
    for path in world.root.rglob("*.part"):
        path.unlink()
    world.path("hello.xen").unlink(missing_ok=True)
    same_size(world, kind, token)


def kernel_removed(world, kind, token):
    world.path("hello.xen").unlink(missing_ok=True)


def kernel_damaged(world, kind, token):
    world.path("hello.xen").write_bytes(b"no kernel")


def copy_damaged(world, kind, token):
    world.path(".unibuild/hello.xen").write_bytes(b"no kernel")


def part_removed(world, kind, token):
    world.path(f"{kind.name}.part").unlink(missing_ok=True)


def outputs_removed(world, kind, token):
    """Remove what the rules of this kind leave, such as a generated header."""
    for name in kind.outputs:
        if world.path(name).is_file():
            world.path(name).unlink()


def output_edited(world, kind, token):
    """Write to the part by hand, and then edit what it is made of."""
    world.write(f"{kind.name}.part", "by hand")
    same_size(world, kind, token)


def state_removed(world, kind, token):
    shutil.rmtree(world.path(".unibuild"))
    same_size(world, kind, token)


def makefile_touched(world, kind, token):
    os.utime(world.path("Makefile"))
    same_size(world, kind, token)


def makefile_recipe(world, kind, token):
    """The kernel's own recipe changes; make does not know it."""
    text = world.path("Makefile").read_text()
    recipe = text.rindex("\tcat head.bin")
    world.write("Makefile", f"{text[:recipe]}\tcat head.bin $(PARTS) > $@; echo {token} >> $@\n")


def settings_changed(world, kind, token):
    text = world.path("unibuild.toml").read_text().partition("\n[build.env]")[0]
    world.write("unibuild.toml", f'{text}\n[build.env]\nUNUSED = "{token}"\n')


def failed_then_fixed(world, kind, token):
    path, text = _new(world, kind, token)
    before = world.path("Makefile").read_text()
    world.write("Makefile", before.replace("head.bin $(PARTS)\n", "head.bin $(PARTS)\n\tfalse\n"))
    path.write_text(text)
    assert world.unibuild().code != 0
    world.write("Makefile", before)


def moved(world, kind, token):
    world.move()


def moved_and_edited(world, kind, token):
    world.move()
    same_size(world, kind, token)


def copied_with_dates(world, kind, token):
    world.move(["cp", "-a"])


def copied_without_dates(world, kind, token):
    world.move(["cp", "-r"])
    same_size(world, kind, token)


# while the build runs


def _while_it_runs(when: str) -> Edit:
    def edit(world, kind, token):
        same_size(world, kind, "abcd")
        world.pause(when)
        running = world.start()
        if world.paused(running):
            same_size(world, kind, token)
        world.resume()
        running.wait()

    return edit


def edited_twice(world, kind, token):
    """Edit a file after it was read, and again after what was made of it was written."""
    same_size(world, kind, "abcd")
    world.pause("between")
    world.pause("after")
    running = world.start()
    for text in ("efgh", token):
        if world.paused(running):
            same_size(world, kind, text)
            (world.top / "paused").unlink()
    running.wait()
    world.resume()


def edited_in_failed_build(world, kind, token):
    """The build fails because of another file; the file is edited after it was read."""
    makefile = world.path("Makefile").read_text()
    world.write("Makefile", makefile.replace("head.bin $(PARTS)\n", "head.bin $(PARTS)\n\tfalse\n"))
    _while_it_runs("between")(world, kind, token)
    world.write("Makefile", makefile)


def reverted_while_it_runs(world, kind, token):
    path = world.path(kind.path)
    text = path.read_text()
    same_size(world, kind, token)
    world.pause("between")
    running = world.start()
    if world.paused(running):
        path.write_text(text)
    world.resume()
    running.wait()


def failed_in_source(world, kind, token):
    world.path(kind.path).write_text("FAIL\n")
    assert world.unibuild().code != 0
    same_size(world, kind, token)


def killed(world, kind, token):
    """unibuild is killed, and make goes on."""
    same_size(world, kind, "abcd")
    world.pause("between")
    running = world.start()
    if world.paused(running):
        running.kill()
        running.wait()
        same_size(world, kind, token)
        world.resume()
        world.rest()
    else:
        running.wait()
        world.resume()


def killed_with_make(world, kind, token):
    same_size(world, kind, "abcd")
    world.pause("between")
    running = world.start()
    if world.paused(running):
        running.kill_all()
        same_size(world, kind, token)
    running.wait()
    world.resume()


# git


def checkout(world, kind, token):
    world.git("checkout", "-q", "-b", f"b{token}")
    same_size(world, kind, token)
    world.git("commit", "-qam", token)
    world.git("checkout", "-q", "main")
    world.unibuild()
    world.git("checkout", "-q", f"b{token}")
    world.git("branch", "-qf", "main")
    world.git("checkout", "-q", "main")


def stash(world, kind, token):
    same_size(world, kind, token)
    world.git("stash", "-q")
    world.unibuild()
    world.git("stash", "pop", "-q")


def stashed_only(world, kind, token):
    same_size(world, kind, token)
    world.unibuild()
    world.git("stash", "-q")


def committed(world, kind, token):
    same_size(world, kind, token)
    world.git("commit", "-qam", token)


def _table(*edits: Edit) -> dict[str, Edit]:
    return {edit.__name__.replace("_", "-"): edit for edit in edits}


NOTHING = _table(touched, touched_back, reverted, mode, unrelated, touched_all, outputs_removed)
"""Edits after which a build from nothing makes the same kernel."""

EDITS = {
    **NOTHING,
    **_table(moved, copied_with_dates, moved_and_edited, copied_without_dates),
    **_table(in_place, same_size, twice, atomic, vim, droppings, hard_link),
    **_table(older, older_replaces, copied_over, same_date, future, future_outputs),
    **_table(emptied, removed, renamed_and_back, link_instead, added, folder_replaced),
    **_table(executable, link_retargeted, folder_instead, folder_renamed_and_back, output_edited),
    **_table(plain_make, plain_make_all, cleaned, kernel_removed, kernel_damaged, copy_damaged, part_removed),
    **_table(state_removed, makefile_touched, makefile_recipe, settings_changed, failed_then_fixed),
}
"""Edits of every kind that has a file with content."""

SLOW = {
    **{f"edited-{when}": _while_it_runs(when) for when in ("before", "between", "after")},
    **_table(edited_twice, edited_in_failed_build, reverted_while_it_runs, failed_in_source, killed, killed_with_make),
}
"""Edits of what ``see`` reads, while the build runs."""

GIT = _table(checkout, stash, stashed_only, committed)
"""Edits in a git tree."""
