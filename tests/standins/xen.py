"""Stand-ins for xl, xenstore-watch, xenstore-read, sudo and ssh: small, but with the habits that our code meets.

Source of the habits: Xen 4.17's tools/xl, tools/console (client and daemon) and tools/xenstore. Their world is the
folder $STANDIN. A kernel is a text file: "#!kernel", then a line for each thing it does:

    say TEXT | count N | sleep SECONDS | echo (answers keys until "q") | stay | poweroff | reboot | crash

A real kernel does what $STANDIN/script says, or says "booted" and stays.
"""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import shlex
import signal
import sys
import termios
import time
import tty
from pathlib import Path

WORLD = Path(os.environ["STANDIN"])
REASONS = {"poweroff": 0, "reboot": 1, "crash": 3}
NO_XEN = (
    "xencall: error: Could not obtain handle on privileged command interface: Permission denied\n"
    "libxl: error: libxl.c:102:libxl_ctx_alloc: cannot open libxc handle: Permission denied\ncannot init xl context"
)
NO_LOADER = (
    "xc: error: panic: xg_dom_core.c:689: xc_dom_find_loader: no loader found: Invalid kernel\n"
    "libxl: error: libxl_dom.c:571:libxl__build_dom: xc_dom_parse_image failed\n"
    "libxl: error: libxl_create.c:1639:domcreate_rebuild_done: Domain {0}:cannot (re-)build domain: -3"
)
NO_MEMORY = "libxl: error: libxl_mem.c:590:libxl_wait_for_free_memory: ...\nfailed to free memory for the domain"
NO_BRIDGE = (
    "libxl: error: libxl_exec.c:117:libxl_report_child_exitstatus: /etc/xen/scripts/vif-bridge online [91] exited "
    "with error status 1\nlibxl: error: libxl_device.c:1265:device_hotplug_child_death_cb: script: "
    "Could not find bridge device {0}"
)


@contextlib.contextmanager
def world():
    """The state, held and then written."""
    with (WORLD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = WORLD / "xen.json"
        state = (
            json.loads(path.read_text()) if path.exists() else {"next": 1, "releases": 0, "free": 512, "domains": {}}
        )
        yield state
        beside = WORLD / "xen.new"
        beside.write_text(json.dumps(state))
        beside.replace(path)


def fail(text, status=1):
    print(text, file=sys.stderr)
    raise SystemExit(status)


def xl(verb, *args):
    with (WORLD / "xl.log").open("a") as log:
        log.write(shlex.join([verb, *args]) + "\n")
    if os.environ.get("STANDIN_ROOT") == "no":
        fail(NO_XEN)
    {"list": xl_list, "create": create, "unpause": unpause, "destroy": destroy, "console": console, "info": info}[verb](
        *args
    )


def xl_list(*_):
    with world() as state:
        domains = dict(state["domains"])
    head = "Name                                        ID   Mem VCPUs\tState\tTime(s)"
    print(f"{head}   UUID                            Reason-Code\tSecurity Label")
    row = "%-40s %5d %5d %5d     %s  %8.1f %s %8s %16s"
    print(row % ("Domain-0", 0, 256, 1, "r-----", 21.5, "00000000-0000-0000-0000-000000000000", "-", "-"))
    for domid, domain in domains.items():
        reason = domain["reason"]
        letters = ["-", "b", "p" if domain["paused"] else "-", "-", "-", "-"]
        if reason is not None:
            letters[1:5] = ["-", "-", "s", "-rscw"[reason]]
        code = "-" if reason is None else f"{reason:x}"
        print(row % (domain["name"], int(domid), domain["memory"], 1, "".join(letters), 0.1, domain["uuid"], code, "-"))


def info():
    """$STANDIN/xen-commandline says how Xen was started."""
    commandline = WORLD / "xen-commandline"
    with world() as state:
        print("total_memory           : 1024")
        print(f"free_memory            : {state['free']}")
    print("xen_commandline        :", commandline.read_text() if commandline.exists() else "dom0_mem=256M,max:256M x")


def create(*args):
    assert args[0] == "-p"
    print(f"Parsing config from {args[1]}", file=sys.stderr)
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from unibuild.xl import grammar

    config = grammar.parse(Path(args[1]).read_text() + "\n" + "\n".join(args[2:]) + "\n")
    with world() as state:
        name, memory = config.get("name"), config.get("memory") or 32
        for vif in config.get("vif") or []:
            bridge = re.search("bridge=([^,]*)", vif)
            if bridge and bridge[1] not in ("xenbr0", "lo"):
                fail(NO_BRIDGE.format(bridge[1]), 3)
        if any(domain["name"] == name for domain in state["domains"].values()):
            fail(f'libxl: error: libxl_create.c:1:: Domain with name "{name}" already exists.', 6)
        if memory > state["free"]:
            fail(NO_MEMORY, 3)
        kernel = Path(config.get("kernel"))
        content = kernel.read_bytes() if kernel.exists() else b""
        if content.startswith(b"\x7fELF"):
            script = WORLD / "script"
            content = b"#!kernel\n" + (script.read_bytes() if script.exists() else b"say booted\nstay\n")
        if not content.startswith(b"#!kernel"):
            fail(NO_LOADER.format(state["next"]), 3)
        state["free"] -= memory
        domain = {"name": name, "memory": memory, "uuid": config.get("uuid"), "paused": True, "reason": None}
        domain["script"] = content.decode().splitlines()[1:]
        domain["ends"] = {key: config.get(key) or "destroy" for key in ("on_poweroff", "on_crash", "on_reboot")}
        state["domains"][str(state["next"])] = domain
        (WORLD / f"{state['next']}.out").write_bytes(b"")
        (WORLD / f"{state['next']}.in").write_bytes(b"")
        state["next"] += 1


def unpause(domid):
    with world() as state:
        state["domains"][domid]["paused"] = False
    if os.fork() == 0:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        live(domid)
        os._exit(0)


def destroy(domid):
    with world() as state:
        gone = state["domains"].pop(domid, None)
        if gone is None:
            fail(f"{domid} is an invalid domain identifier (rc=-6)")
        state["free"] += gone["memory"]
        state["releases"] += 1


def live(domid):
    """Be the domain."""
    with world() as state:
        domain = state["domains"][domid]
    with (WORLD / f"{domid}.out").open("ab", buffering=0) as out:
        for line in domain["script"]:
            word, _, rest = line.partition(" ")
            if word == "say":
                out.write(rest.encode("latin-1").decode("unicode-escape").encode("latin-1") + b"\r\n")
            elif word == "count":
                out.write(b"".join(b"line %d\r\n" % n for n in range(1, int(rest) + 1)))
            elif word == "sleep":
                time.sleep(float(rest))
            elif word == "echo":
                echo(domid, out)
            elif word == "stay":
                while alive(domid):
                    time.sleep(0.1)
            else:
                end(domid, word)


def alive(domid):
    if (WORLD / "over").exists():
        return False  # so is the test
    with world() as state:
        return domid in state["domains"]


def echo(domid, out):
    with (WORLD / f"{domid}.in").open("rb") as keys:
        while alive(domid):
            for key in keys.read():
                out.write(b"key %d\r\n" % key)
                if key == ord("q"):
                    return
            time.sleep(0.01)


def end(domid, how):
    with world() as state:
        domain = state["domains"].get(domid)
        if domain:
            state["releases"] += 1
            domain["reason"] = REASONS[how]
            if domain["ends"][f"on_{how}"] != "preserve":
                del state["domains"][domid]
                state["free"] += domain["memory"]


def console(domid):
    """xenconsole: keys only from a terminal; what was not read yet waits for it, until the domain is destroyed."""
    lock = (WORLD / f"{domid}.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fail(f"xenconsole: Could not lock {WORLD}/{domid}.lock: Resource temporarily unavailable", 11)
    time.sleep(float(os.environ.get("STANDIN_ATTACH", "0.05")))
    interactive = os.isatty(0) and os.isatty(1)
    if interactive:
        tty.setraw(0, termios.TCSANOW)
    at = WORLD / f"{domid}.at"
    with (WORLD / f"{domid}.out").open("rb") as out:
        out.seek(int(at.read_text()) if at.exists() else 0)
        while alive(domid):
            data = out.read(512)
            if data:
                os.write(1, data)
                at.write_text(str(out.tell()))
            if interactive and select.select([0], [], [], 0)[0]:
                keys = os.read(0, 60)
                if keys in (b"", b"\x1d"):
                    return
                with (WORLD / f"{domid}.in").open("ab") as into:
                    into.write(keys)
            if not data:
                time.sleep(0.005)


def xenstore_watch(path):
    assert path == "@releaseDomain"
    seen = None
    while not (WORLD / "over").exists():
        with world() as state:
            now = state["releases"]
        if now != seen:
            print(path, flush=True)
            seen = now
        time.sleep(0.01)


def xenstore_read(path):
    print(WORLD / f"{re.fullmatch('/local/domain/([0-9]+)/console/tty', path)[1]}.in")


def sudo(*args):
    """$STANDIN/sudo says how it is set up: "ok", or its words of refusal."""
    args = list(args)
    with (WORLD / "sudo.log").open("a") as log:
        log.write(shlex.join(args) + "\n")
    if args[0] == "-n":
        args.pop(0)
    assert args.pop(0) == "--"
    refusal = WORLD / "sudo"
    if refusal.exists():
        fail(refusal.read_text().strip())
    os.environ["STANDIN_ROOT"] = "yes"
    try:
        os.execvp(args[0], args)
    except FileNotFoundError:
        fail(f"sudo: {args[0]}: command not found")


def ssh(*args):
    """$STANDIN/ssh says what a failing connection says; $STANDIN/ssh-config what `ssh -G` says."""
    with (WORLD / "ssh.log").open("a") as log:
        log.write(shlex.join(args) + "\n")
    rest, wants_tty = list(args), False
    while rest[0] != "--":
        option = rest.pop(0)
        wants_tty |= option == "-tt"
        if option in ("-o", "-F", "-p", "-e"):
            rest.pop(0)
        elif option == "-G":
            config = WORLD / "ssh-config"
            print(config.read_text() if config.exists() else f"user ann\nhostname {rest[-1]}\nport 22")
            return
    failure = WORLD / "ssh"
    if failure.exists():
        fail(failure.read_text().rstrip(), 255)
    home = WORLD / "home"
    home.mkdir(exist_ok=True)
    os.chdir(home)
    command = ["/bin/sh", "-c", rest[2]]
    if not wants_tty:
        os.execv(command[0], command)
    raise SystemExit(with_tty(command))


def with_tty(command):
    """Run a command on a terminal of its own, which hangs up when we end."""
    modes = termios.tcgetattr(0) if os.isatty(0) else None
    pid, fd = pty.fork()
    if pid == 0:
        if modes:
            termios.tcsetattr(0, termios.TCSANOW, modes)
        os.execv(command[0], command)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if os.isatty(0):
        tty.setraw(0)
    sources = [0, fd]
    with contextlib.suppress(OSError):
        while True:
            for source in select.select(sources, [], [])[0]:
                data = os.read(source, 4096)
                if source == 0 and not data:
                    sources.remove(0)
                elif not data:
                    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                else:
                    os.write(1 if source == fd else fd, data)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    name, *rest = sys.argv[1:]
    globals()[name.replace("-", "_")](*rest)
