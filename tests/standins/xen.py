"""Stand-ins for xl, xenctx, the xenstore tools, sudo and ssh: small, with the behaviour that matters to unibuild.

Source of the behaviour: Xen 4.17's tools/xl, tools/libs/light, tools/console (client and daemon) and tools/xenstore,
and their output in the lab. Their state is in the folder $STANDIN. A kernel is a text file: "#!kernel", then a line
for each thing it does:

    say TEXT | count N | flood BYTES | sleep SECONDS | until FILE (of $STANDIN is there) | echo (answers keys until
    "q") | store KEY VALUE (below its own node) | stay | obey [TEXT] (stays, powers off on request) |
    stubborn (stays, and only acknowledges the request) | poweroff | reboot | crash

A real kernel runs the lines of $STANDIN/script, or prints "booted" and stays.

$STANDIN/NAME makes NAME fail with this message, $STANDIN/NAME.says is its output; NAME is a program, or "xl-VERB".
The lines of $STANDIN/xl-info.lines ("key : value") replace those of `xl info`; $STANDIN/free is its free_memory
without any domain.
$STANDIN_ACK is the time that `xl shutdown` waits for the kernel's acknowledgement; the default is xl's 60 s.

A test run starts thousands of stand-ins, so they import as little as possible: no re, no pathlib, no json.
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
