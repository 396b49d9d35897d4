/* Looks like a Mirage unikernel from outside: Solo5's note, its manual page for --help=plain, and how it then ends.
 * Otherwise it says its command line and stays.
 */
#include "kernel.h"
#include "page.h"

/* Solo5's ABI note (elf_abi.h): target 6 is xen, version 1. It is where the linker script keeps Xen's own. */
__asm__(".pushsection .note.Xen, \"a\", @note\n"
        ".long 6, 8, 0x31494241\n"
        ".asciz \"Solo5\"\n"
        ".balign 4\n"
        ".long 6, 1\n"
        ".popsection\n");

void main(char *command_line)
{
    print("Solo5: Bindings version v0.12.1\n");
    if (option(command_line, "--help")) {
        for (const char *c = page; *c; c++)
            print("%c", *c);
        print("Solo5: solo5_exit(63) called\n");
        return;
    }
    print("command line: %s\n", command_line);
    power_open();
    for (;;) {
        wait(now() + SECOND);
        power_obey();
    }
}
