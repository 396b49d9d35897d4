"""Stand-ins for xl, xenctx, the xenstore tools, sudo and ssh: small, but with the habits that our code meets.

Source of the habits: Xen 4.17's tools/xl, tools/libs/light, tools/console (client and daemon) and tools/xenstore, and
what they really say in the lab. Their world is the folder $STANDIN. A kernel is a text file: "#!kernel", then a line
for each thing it does:

    say TEXT | count N | flood BYTES | sleep SECONDS | until FILE (of $STANDIN is there) | echo (answers keys until
    "q") | store KEY VALUE (below its own node) | stay | obey [TEXT] (stays, powers off when it is asked to) |
    stubborn (stays, and only says that it would) | poweroff | reboot | crash

A real kernel does what $STANDIN/script says, or says "booted" and stays.

$STANDIN/NAME makes NAME fail with these words, $STANDIN/NAME.says is what it answers; NAME is a program, or "xl-VERB".
The lines of $STANDIN/xl-info.lines ("key : value") replace those of `xl info`; $STANDIN/free is its free_memory,
as long as there was no domain.
$STANDIN_ACK is how long `xl shutdown` waits for the kernel to take notice: xl's 60 s where it is not set.

Thousands of them are started in a run of the tests, so they import as little as they can: no re, no pathlib, no json.
"""

import sys


def play(program, *args):
    if program in ("ssh", "sudo"):
        import xen_ssh as programs
    elif program.startswith("xenstore-"):
        import xen_store as programs
    else:
        import xen_xl as programs
    getattr(programs, program.replace("-", "_"))(*args)


if __name__ == "__main__":
    play(*sys.argv[1:])
