"""Stand-ins for xenstore-read, -write, -ls, -list, -rm, -exists and -watch (tools/xenstore/xenstore_client.c).

The store is {path: value}. "events" lists the changed paths; a watch reports changes of its path and of paths below it.
"""

import os
import time

from xen_world import fail, is_over, reader, world

LETTERS = {*"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@-"}


def put(state, path, value):
    """Write a node and its missing parents."""
    parts = path.split("/")
    for count in range(2, len(parts)):
        state["store"].setdefault("/".join(parts[:count]), "")
    state["store"][path] = value
    state["events"].append(path)


def remove(state, path):
    for node in [path, *below(state, path)]:
        if state["store"].pop(node, None) is not None:
            state["events"].append(node)


def below(state, path):
    """Return the paths below a path, parents first, in the order of xenstored: by age."""
    found = []
    for child in children(state, path):
        found += [child, *below(state, child)]
    return found


def children(state, path):
    under = path.rstrip("/") + "/"
    return [node for node in state["store"] if node.startswith(under) and "/" not in node[len(under) :] != ""]


def is_valid(path):
    """Refuse what xenstored refuses: it accepts letters, digits and -/_@, and no empty name (is_valid_nodename)."""
    first, *parts = path.split("/")
    return path == "/" or bool(not first and parts and all(part and not set(part) - LETTERS for part in parts))


def parse(program, args, flags):
    """Return the flags that were set, and the other arguments."""
    args = list(args)
    given = set()
    while args and args[0].startswith("-"):
        flag = args.pop(0)
        if flag[1:] not in flags:
            fail(f"{program}: Usage: {program} [-h] [-s] key [...]")
        given.add(flag[1:])
    if os.environ.get("STANDIN_ROOT") == "no":
        fail(f"{program}: xs_open: Permission denied")
    if not args and program not in ("xenstore-ls", "xenstore-watch"):
        fail(f"{program}: Usage: {program} [-h] [-s] key [...]")
    return given, args


def xenstore_read(*args):
    given, paths = parse("xenstore-read", args, "psR")
    with world() as state:
        for path in paths:
            if not is_valid(path) or path not in state["store"]:
                fail(f"xenstore-read: couldn't read path {path}")
            print(f"{path}: {state['store'][path]}" if "p" in given else state["store"][path])


def xenstore_write(*args):
    _, words = parse("xenstore-write", args, "sR")
    if len(words) % 2:
        fail("xenstore-write: Usage: xenstore-write [-h] [-s] [-R] key value [...]")
    with world() as state:
        for path, value in zip(words[::2], words[1::2], strict=True):
            if not is_valid(path) or len(path) + len(value) >= 4096:
                fail(f"xenstore-write: could not write path {path}")
            put(state, path, value)


def xenstore_ls(*args):
    given, paths = parse("xenstore-ls", args, "fps")
    with world() as state:
        for path in paths or ["/"]:
            if path not in state["store"]:
                error = "No such file or directory" if is_valid(path) else "Invalid argument"
                fail(f"xenstore-ls: xs_directory ({path}): {error}")
            for node in below(state, path):
                depth = node.count("/") - path.rstrip("/").count("/") - 1
                name = node if "f" in given else " " * depth + node.rpartition("/")[2]
                print(f'{name} = "{state["store"][node]}"')


def xenstore_list(*args):
    given, paths = parse("xenstore-list", args, "ps")
    with world() as state:
        for path in paths:
            if path not in state["store"]:
                fail(f"xenstore-list: could not list path {path}")
            for node in children(state, path):
                print(node if "p" in given else node.rpartition("/")[2])


def xenstore_rm(*args):
    """Remove nodes; a missing node is not an error if its parent exists."""
    _, paths = parse("xenstore-rm", args, "st")
    with world() as state:
        for path in paths:
            if not is_valid(path) or (path.rpartition("/")[0] or "/") not in state["store"]:
                fail(f"xenstore-rm: could not remove path {path}")
            remove(state, path)


def xenstore_exists(*args):
    _, paths = parse("xenstore-exists", args, "s")
    with world() as state:
        raise SystemExit(any(path not in state["store"] for path in paths))


def xenstore_watch(*args):
    """Print each path once at the start, and whenever it or a path below it changes."""
    _, paths = parse("xenstore-watch", args, "s")
    seen = len(reader.read()["events"])
    for path in paths:
        print(path, flush=True)
    while not is_over():
        events = reader.read()["events"]
        news, seen = events[seen:], len(events)
        for event in news:
            for path in paths:
                if event == path or event.startswith(path.rstrip("/") + "/"):
                    print(event, flush=True)
        time.sleep(0.01)
