"""Stand-ins for sudo and ssh."""

import os

from xen_world import WORLD, fail, is_over, note


def sudo(*args):
    """Stand in for sudo; $STANDIN/sudo has its configuration: "ok", or the message with which it refuses."""
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
    for name in [name for name in os.environ if name != "PATH" and not name.startswith("STANDIN")]:
        del os.environ[name]  # env_reset
    os.environ["STANDIN_ROOT"] = "yes"
    try:
        os.execvp(args[0], args)
    except FileNotFoundError:
        fail(f"sudo: {args[0]}: command not found")


OPTIONS = {  # ssh_config(5): the options that unibuild passes, with the values that it may pass
    "BatchMode": ("yes",),
    "ClearAllForwardings": ("yes",),
    "ConnectTimeout": (),
    "ControlMaster": ("auto",),
    "ControlPath": (),
    "ControlPersist": (),
    "ForkAfterAuthentication": ("no",),
    "LogLevel": ("ERROR",),
    "PermitLocalCommand": ("no",),
    "RemoteCommand": ("none",),
    "ServerAliveCountMax": (),
    "ServerAliveInterval": (),
    "SessionType": ("default",),
    "StdinNull": ("no",),
    "Tunnel": ("no",),
}


def ssh(*args):
    """Stand in for ssh; $STANDIN/ssh has the error of a failing connection, $STANDIN/ssh-config the output of `ssh -G`.

    The account's login shell is $STANDIN/shell, or /bin/sh, and prints to both streams before it runs the command.
    """
    note("ssh", *args)
    rest, wants_tty, options = list(args), False, {}
    while rest[0] != "--":
        option = rest.pop(0)
        wants_tty |= option == "-tt"
        if option == "-o":
            name, _, value = rest.pop(0).partition("=")
            if name not in OPTIONS:
                fail(f"command-line: line 0: Bad configuration option: {name.lower()}", 255)
            if not value or (OPTIONS[name] and value not in OPTIONS[name]):
                fail(f'command-line line 0: unsupported option "{value}".', 255)
            options.setdefault(name.lower(), value)
        elif option in ("-F", "-p", "-e", "-O"):
            rest.pop(0)
        elif option == "-G":
            print(configuration(rest[rest.index("--") + 1]))
            return
        elif option not in ("-tt", "-T", "-x"):
            fail(f"unknown option -- {option}", 255)
    if "-O" in args:
        return
    if len(rest) != 3 or not rest[2].isprintable() or not rest[2].isascii():
        raise SystemExit(f"not one line for a login shell: {rest[1:]}")
    refuse(configuration(rest[1]), options)
    failure = WORLD / "ssh"
    if failure.exists():
        fail(failure.read_text().rstrip(), 255)
    home = WORLD / "home"
    os.makedirs(home, exist_ok=True)
    os.chdir(home)
    os.environ["HOME"] = str(home)
    shell = WORLD / "shell"
    command = [shell.read_text().strip() if shell.exists() else "/bin/sh", "-c", rest[2]]
    if not wants_tty:
        greet(2)
        greet(1)
        os.execv(command[0], command)
    raise SystemExit(with_tty(command))


def greet(fd):
    """Print the output of a login shell's startup files."""
    os.write(fd, b"Welcome to xen1!\nbash: line 1: starship-init: command not found\nstty: standard input\n")


def configuration(host):
    config = WORLD / "ssh-config"
    return config.read_text().rstrip() if config.exists() else f"user ann\nhostname {host}\nport 22"


def refuse(config, options):
    """Fail as ssh does if its configuration is for interactive use and no option overrides it."""
    says = dict(line.partition(" ")[::2] for line in reversed(config.splitlines())) | options
    if says.get("remotecommand", "none") != "none":
        fail("Cannot execute command-line and remote command.", 255)
    if says.get("forkafterauthentication", "no") == "yes":
        fail("Cannot fork into background without a command to execute.", 255)
    if says.get("sessiontype", "default") == "none":
        raise SystemExit(255)
    if says.get("exitonforwardfailure") == "yes" and "localforward" in says and "clearallforwardings" not in options:
        fail("Could not request local forwarding.", 255)
    if says.get("stdinnull", "no") == "yes":
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


def with_tty(command):
    """Run a command on a remote terminal; pass the input on to it, and return its status.

    The connection is persistent, so the remote side does not notice the end of this process: the terminal does not hang
    up, the command continues, and its output is lost.
    """
    import contextlib
    import select
    import signal
    import sys
    import termios
    import tty

    modes = termios.tcgetattr(0) if os.isatty(0) else None
    keys, to_far = os.pipe()
    from_far, words = os.pipe()
    its_status, status = os.pipe()
    if os.fork() == 0:
        try:
            os.setsid()
            null = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            for fd in (to_far, from_far, its_status):
                os.close(fd)
            os.write(status, bytes([far_side(command, modes, keys, words) & 255]))
        finally:
            os._exit(0)
    for fd in (keys, words, status):
        os.close(fd)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if modes:
        tty.setraw(0)
    sources = [0, from_far]
    with contextlib.suppress(OSError):
        while from_far in sources:
            for source in select.select(sources, [], [])[0]:
                data = os.read(source, 4096)
                if not data:
                    sources.remove(source)
                else:
                    os.write(1 if source == from_far else to_far, data)
    return (os.read(its_status, 1) or b"\xff")[0]


def far_side(command, modes, keys, words):
    """Hold the terminal until the command has ended; return its exit status."""
    import contextlib
    import pty
    import select
    import termios

    pid, fd = pty.fork()
    if pid == 0:
        if modes:
            termios.tcsetattr(0, termios.TCSANOW, modes)
        greet(1)
        os.execv(command[0], command)
    sources = [keys, fd]
    while not is_over():
        for source in select.select(sources, [], [], 0.5)[0]:
            try:
                data = os.read(source, 4096)
            except OSError:
                data = b""  # no process has the terminal open any more
            if source == keys:
                os.write(fd, data) if data else sources.remove(keys)
            elif data:
                with contextlib.suppress(BrokenPipeError):  # the client has ended
                    os.write(words, data)
            else:
                os.close(words)
                return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return 255
