"""A running domain: it executes the lines of its kernel one after the other. xen.py lists the commands."""

import time

from xen_store import put, remove
from xen_world import WORLD, is_over, reader, world

REASONS = {"poweroff": 0, "reboot": 1, "crash": 3}


def live(domid):
    """Run the domain."""
    with world() as state:
        script = state["domains"][domid]["script"]
    with (WORLD / f"{domid}.out").open("ab", buffering=0) as out:
        for line in script:
            if not is_alive(domid):
                return
            word, _, rest = line.partition(" ")
            if word in REASONS:
                end(domid, word)
            else:
                WORDS[word](domid, out, rest)


def is_alive(domid):
    """Return whether the domain is alive; while it is paused, wait."""
    while not is_over():  # otherwise the test has ended too
        domain = reader.read()["domains"].get(domid)
        if domain is None or not domain["paused"]:
            return domain is not None
        time.sleep(0.01)
    return False


def say(domid, out, rest):
    out.write(rest.encode("latin-1").decode("unicode-escape").encode("latin-1") + b"\r\n")


def count(domid, out, rest):
    out.write(b"".join(b"line %d\r\n" % n for n in range(1, int(rest) + 1)))


def flood(domid, out, rest):
    for n in range(1, int(rest) // 64 + 1):
        out.write(b"%-62d\r\n" % n)


def sleep(domid, out, rest):
    time.sleep(float(rest))


def until(domid, out, rest):
    while is_alive(domid) and not (WORLD / rest).exists():
        time.sleep(0.02)


def stay(domid, out, rest):
    while is_alive(domid):
        time.sleep(0.05)


def stubborn(domid, out, rest):
    write(domid, "control/feature-poweroff", "1")
    stay(domid, out, rest)


def obey(domid, out, rest):
    write(domid, "control/feature-poweroff", "1")
    while is_alive(domid):
        asked = reader.read()["store"].get(f"/local/domain/{domid}/control/shutdown")
        if asked:
            write(domid, "control/shutdown", "")
            if rest:
                say(domid, out, rest)
            end(domid, asked if asked in REASONS else "poweroff")
            return
        time.sleep(0.02)


def store(domid, out, rest):
    key, _, value = rest.partition(" ")
    write(domid, key, value)


def echo(domid, out, rest):
    with (WORLD / f"{domid}.in").open("rb") as keys:
        while is_alive(domid):
            for key in keys.read():
                out.write(b"key %d\r\n" % key)
                if key == ord("q"):
                    return
            time.sleep(0.01)


def write(domid, key, value):
    with world() as state:
        if domid in state["domains"]:
            put(state, f"/local/domain/{domid}/{key}", value)


def end(domid, how):
    with world() as state:
        domain = state["domains"].get(domid)
        if domain:
            domain["reason"] = REASONS[how]
            state["events"].append("@releaseDomain")
            if domain["ends"][f"on_{how}"] != "preserve":
                bury(state, domid)


def bury(state, domid):
    """Remove a domain and its nodes."""
    domain = state["domains"].pop(domid)
    state["free"] += domain["memory"]
    remove(state, f"/local/domain/{domid}")
    if all(other["uuid"] != domain["uuid"] for other in state["domains"].values()):
        remove(state, f"/vm/{domain['uuid']}")
    state["events"].append("@releaseDomain")


WORDS = {word.__name__: word for word in (say, count, flood, sleep, until, stay, stubborn, obey, store, echo)}
