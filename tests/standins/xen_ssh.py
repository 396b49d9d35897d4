"""Stand-ins for sudo and ssh."""

import os

from xen_world import WORLD, fail, note


def sudo(*args):
    """$STANDIN/sudo says how it is set up: "ok", or its words of refusal."""
    args = list(args)
    note("sudo", *args)
    if args[0] == "-n":
        args.pop(0)
    only_asks = args[0] == "-l"
    if only_asks:
        args.pop(0)
    assert args.pop(0) == "--"
    refusal = WORLD / "sudo"
    if refusal.exists():
        fail(refusal.read_text().strip())
    if only_asks:
        return
    os.environ["STANDIN_ROOT"] = "yes"
    try:
        os.execvp(args[0], args)
    except FileNotFoundError:
        fail(f"sudo: {args[0]}: command not found")


def ssh(*args):
    """$STANDIN/ssh says what a failing connection says; $STANDIN/ssh-config what `ssh -G` says."""
    note("ssh", *args)
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
    os.makedirs(home, exist_ok=True)
    os.chdir(home)
    command = ["/bin/sh", "-c", rest[2]]
    if not wants_tty:
        os.execv(command[0], command)
    raise SystemExit(with_tty(command))


def with_tty(command):
    """Run a command on a terminal of its own, which hangs up when we end."""
    import contextlib
    import pty
    import select
    import signal
    import sys
    import termios
    import tty

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
