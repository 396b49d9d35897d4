"""Stand-ins for xl and xenctx; see xen.py."""

import _signal  # the module that "signal" dresses up, with enum
import fcntl
import os
import sys
import time

from xen_kernel import bury, live
from xen_store import put
from xen_texts import (
    DMESG,
    INFO,
    NAME_TAKEN,
    NO_ANSWER,
    NO_BALLOON,
    NO_BRIDGE,
    NO_LOADER,
    NO_LOGFILE,
    NO_MEMORY,
    NO_SHADOW,
    NO_TYPE,
    NO_XEN,
    NOT_DESTROYED,
    NOT_MADE,
    NOT_PAUSED,
    REGISTERS,
)
from xen_world import WORLD, Place, canned, fail, is_over, note, reader, world


def xl(verb, *args):
    note("xl", verb, *args)
    if os.environ.get("STANDIN_ROOT") == "no":
        fail(NO_XEN)
    canned(f"xl-{verb}")
    VERBS[verb](*args)


def domid_of(state, asked):
    """A number is taken as it is, as xl does."""
    if asked.isdigit():
        return asked
    for domid, domain in state["domains"].items():
        if domain["name"] == asked:
            return domid
    fail(f"{asked} is an invalid domain identifier (rc=-6)")
    return None


def xl_list(*args):
    is_long = "-v" in args
    asked = [arg for arg in args if arg != "-v"]
    with world() as state:
        domains = dict(state["domains"])
        wanted = [domid_of(state, one) for one in asked]
    for domid in wanted:
        if domid not in domains:
            fail(f"Error: Domain '{domid}' does not exist.")
    head = "Name                                        ID   Mem VCPUs\tState\tTime(s)"
    print(head + ("   UUID                            Reason-Code\tSecurity Label" if is_long else ""))
    if not wanted:
        row("Domain-0", 0, 256, "r-----", 21.5, "00000000-0000-0000-0000-000000000000", "-", is_long)
    for domid, domain in domains.items():
        if wanted and domid not in wanted:
            continue
        reason = domain["reason"]
        letters = ["-", "b", "p" if domain["paused"] else "-", "-", "-", "-"]
        if domain["paused"]:
            letters[1] = "-"
        if reason is not None:
            letters[1:5] = ["-", letters[2], "s", "-rscw"[reason]]
        code = "-" if reason is None else f"{reason:x}"
        row(domain["name"], int(domid), domain["memory"], "".join(letters), 0.1, domain["uuid"], code, is_long)


def row(name, domid, memory, letters, seconds, identity, code, is_long):
    line = f"{name:40} {domid:5} {memory:5} {1:5}     {letters}  {seconds:8.1f}"
    print(line + (f" {identity} {code:>8} {'-':>16}" if is_long else ""))


def info(*_):
    """$STANDIN/xen-commandline says how Xen was started, $STANDIN/xl-info.lines the rest."""
    with world() as state:
        changes = {"free_memory": str(state["free"])}
    commandline, more = WORLD / "xen-commandline", WORLD / "xl-info.lines"
    if commandline.exists():
        changes["xen_commandline"] = commandline.read_text()
    for line in more.read_text().splitlines() if more.exists() else ():
        key, _, value = line.partition(":")
        changes[key.strip()] = value.strip()
    for line in INFO.splitlines():
        key = line.partition(":")[0].strip()
        print(f"{key:23}: {changes[key]}" if key in changes else line)


def create(*args):
    flags = [arg for arg in args if arg.startswith("-")]
    path, *assignments = [arg for arg in args if not arg.startswith("-")]
    print(f"Parsing config from {path}", file=sys.stderr)
    sys.path.insert(0, __file__.rpartition("/tests/")[0])
    from unibuild.xlcfg import parser

    config = parser.parse(Place(path).read_text() + "\n" + "\n".join(assignments) + "\n")
    with world() as state:
        domid = str(state["next"])
        state["next"] += 1
        error = refusal(state, config, domid)
        if not error:
            make(state, config, domid)
    if error:
        fail(error, 3)
    log = f"xl-{config.get('name')}.log"
    if "/" in log or len(os.fsencode(log)) > 255:
        fail(NO_LOGFILE.format("No such file or directory" if "/" in log else "File name too long"), 3)
    if "-p" not in flags:
        unpause(domid)


def memory_of(config):
    return config.number("memory") or config.number("maxmem") or 32


def refusal(state, config, domid):
    """Return what xl says where it does not make this domain; it has used up the number all the same."""
    memory = memory_of(config)
    if config.get("type") == "pvh" and {"memory", "maxmem"}.isdisjoint(config.keys()):
        return NO_SHADOW
    if config.get("name") in ("Domain-0", *(domain["name"] for domain in state["domains"].values())):
        return (NAME_TAKEN + "\n" + NOT_MADE).format(domid, config.get("name"))
    for vif in config.get("vif") or []:
        _, found, bridge = vif.partition("bridge=")
        bridge = bridge.partition(",")[0]
        if found and bridge not in ("xenbr0", "lo"):
            return NO_BRIDGE.format(bridge)
    if memory > state["free"]:
        commandline = WORLD / "xen-commandline"
        is_fixed = "dom0_mem" in (commandline.read_text() if commandline.exists() else INFO)
        return NO_MEMORY.format(domid) if is_fixed else NO_BALLOON
    return None if script_of(config) is not None else NO_LOADER.format(domid)


def script_of(config):
    kernel = Place(config.get("kernel"))
    content = kernel.read_bytes() if kernel.exists() else b""
    if content.startswith(b"\x7fELF"):
        script = WORLD / "script"
        content = b"#!kernel\n" + (script.read_bytes() if script.exists() else b"say booted\nstay\n")
    return content.decode().splitlines()[1:] if content.startswith(b"#!kernel") else None


def make(state, config, domid):
    memory = memory_of(config)
    domain = {"name": config.get("name"), "memory": memory, "uuid": config.get("uuid") or draw_uuid()}
    domain |= {"paused": 1, "started": False, "reason": None, "script": script_of(config)}
    domain["ends"] = {key: config.get(key) or "destroy" for key in ("on_poweroff", "on_crash", "on_reboot")}
    state["domains"][domid] = domain
    state["free"] -= memory
    for suffix in ("out", "in"):
        (WORLD / f"{domid}.{suffix}").write_bytes(b"")
    node, vm = f"/local/domain/{domid}", f"/vm/{domain['uuid']}"
    put(state, f"{vm}/name", domain["name"])
    put(state, f"{vm}/uuid", domain["uuid"])
    for key, value in {
        "vm": vm,
        "name": domain["name"],
        "memory/target": str(memory * 1024),
        "control/shutdown": "",
        "control/feature-poweroff": "",
        "control/feature-reboot": "",
        "data": "",
        "domid": domid,
        "console/type": "xenconsoled",
        "console/tty": str(WORLD / f"{domid}.in"),
    }.items():
        put(state, f"{node}/{key}", value)
    state["events"].append("@introduceDomain")


def draw_uuid():
    digits = os.urandom(16).hex()
    return "-".join(digits[start:end] for start, end in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32)))


def rename(asked, name):
    with world() as state:
        domid = domid_of(state, asked)
        domain = state["domains"].get(domid)
        taken = name == "Domain-0" or any(
            other["name"] == name and key != domid for key, other in state["domains"].items()
        )
        if domain and not taken:
            domain["name"] = name
            put(state, f"/local/domain/{domid}/name", name)
            put(state, f"/vm/{domain['uuid']}/name", name)
            return
    fail((NAME_TAKEN.format(domid, name) + "\n" if taken else "") + f"Can't rename domain '{asked}'.")


def pause(asked):
    """The calls are counted: as many `xl unpause` are needed."""
    with world() as state:
        domid = domid_of(state, asked)
        if domid in state["domains"]:
            state["domains"][domid]["paused"] += 1
            return
    print(
        f"libxl: error: libxl_domain.c:587:libxl_domain_pause: Domain {domid}:Pausing domain: No such process",
        file=sys.stderr,
    )


def unpause(asked):
    """Its exit code is 0 even where there is no such domain."""
    with world() as state:
        domid = domid_of(state, asked)
        domain = state["domains"].get(domid)
        if domain is None or not domain["paused"]:
            print((NO_TYPE if domain is None else NOT_PAUSED).format(domid), file=sys.stderr)
            return
        domain["paused"] -= 1
        if domain["paused"] or domain["started"]:
            return
        domain["started"] = True
    if os.fork() == 0:
        try:
            os.setsid()
            null = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            os.closerange(3, 1024)  # a test that plays us may hold a lock
            reader.forget()
            live(domid)
        finally:  # no exception, as of a removed folder, may reach pytest in the copy of a test's process
            os._exit(0)


def shutdown(*args):
    """The request is written, and waits until the kernel takes it up by clearing it; with -w, until the domain ends."""
    deadline = time.monotonic() + float(os.environ.get("STANDIN_ACK", "60"))
    with world() as state:
        domid = domid_of(state, args[-1])
        is_there = domid in state["domains"]
        if is_there:
            put(state, f"/local/domain/{domid}/control/shutdown", "poweroff")
    print(f"Shutting down domain {domid}", file=sys.stderr)
    if not is_there:
        fail(NO_TYPE.format(domid) + "\nshutdown failed (rc=-3)")
    while is_asked(domid):
        if time.monotonic() > deadline:
            fail(NO_ANSWER + "\nshutdown failed (rc=-9)")
        time.sleep(0.02)
    if "-w" in args:
        print("Waiting for 1 domains", file=sys.stderr)
        while lives(domid):
            time.sleep(0.02)
        print(f"Domain {domid} has been shut down, reason code 0", file=sys.stderr)


def is_asked(domid):
    return bool(reader.read()["store"].get(f"/local/domain/{domid}/control/shutdown")) and not is_over()


def lives(domid):
    domain = reader.read()["domains"].get(domid)
    return domain is not None and domain["reason"] is None and not is_over()


def destroy(asked):
    with world() as state:
        domid = domid_of(state, asked)
        is_there = domid in state["domains"]
        if is_there:
            bury(state, domid)
    if not is_there:
        fail(NOT_DESTROYED.format(domid) + "\ndestroy failed (rc=-21)")


def dmesg(*_):
    print(DMESG, end="")


def console(*args):
    """xenconsole: keys only from a terminal; what was not read yet waits for it, until the domain is destroyed."""
    with world() as state:
        domid = domid_of(state, args[-1])
        is_there = domid in state["domains"]
    if not is_there:
        fail(NO_TYPE.format(domid) + "\nUnable to attach console")
    lock = (WORLD / f"{domid}.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fail(f"xenconsole: Could not lock {WORLD}/{domid}.lock: Resource temporarily unavailable", 11)
    time.sleep(float(os.environ.get("STANDIN_ATTACH", "0.05")))
    interactive = os.isatty(0) and os.isatty(1)
    if interactive:
        import select
        import termios
        import tty

        tty.setraw(0, termios.TCSANOW)
    at = WORLD / f"{domid}.at"
    with (WORLD / f"{domid}.out").open("rb") as out:
        out.seek(int(at.read_text()) if at.exists() else 0)
        while is_there:
            data = out.read(4096)
            if data:
                _signal.pthread_sigmask(_signal.SIG_BLOCK, [_signal.SIGTERM])
                os.write(1, data)
                at.write_text(str(out.tell()))
                _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [_signal.SIGTERM])
            if interactive and select.select([0], [], [], 0)[0]:
                keys = os.read(0, 60)
                if keys in (b"", b"\x1d"):
                    return
                with (WORLD / f"{domid}.in").open("ab") as into:
                    into.write(keys)
            if not data:
                time.sleep(0.01)
                is_there = exists(domid)


def exists(domid):
    return domid in reader.read()["domains"] and not is_over()


def xenctx(*args):
    """Registers as the real one says them of a kernel that sleeps."""
    if os.environ.get("STANDIN_ROOT") == "no":
        fail("xencall: error: Could not obtain handle on privileged command interface: Permission denied", 255)
    canned("xenctx")
    if not any(arg.isdigit() and exists(arg) for arg in args):
        fail("xc_domain_getinfo: No such process", 255)
    print(REGISTERS, end="")


VERBS = {
    "list": xl_list,
    **{verb.__name__: verb for verb in (create, rename, pause, unpause, shutdown, destroy, console, info, dmesg)},
}
