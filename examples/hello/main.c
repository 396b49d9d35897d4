/* Says hello, then ticks once a second until it is asked to stop.
 *
 * Words of the command line, all of them optional:
 *   lines=N   print N numbered lines at once
 *   quiet     do not print the ticks
 *   exit=N    power off after N ticks
 *   crash=1   crash after the first lines
 *   fault=1   after the first lines, write to an address without memory, as a faulty program would
 */
#include "kernel.h"

static void hello(const char *command_line)
{
    char name[64];

    xenstore_read("name", name, sizeof(name));
    print("hello from %s, a %s domain\n", name, platform_name);
    print("command line: %s\n", command_line);
    print("seconds since 1970: %lu\n", wall_clock());
    memory_check();
}

/* Print what was typed, once the line is complete. */
static void listen(void)
{
    static char line[80];
    static size_t length;

    for (int c = console_read(); c >= 0; c = console_read()) {
        if (c == '\r' || c == '\n') {
            print("heard: %s\n", line);
            length = 0;
        } else if (length + 1 < sizeof(line)) {
            line[length++] = (char)c;
        }
        line[length] = 0;
    }
}

static void sleep_until(uint64_t then)
{
    while (now() < then) {
        wait(then);
        listen();
    }
}

static void fault(void)
{
    *(volatile int *)0x400000000 = 1; /* 16 GB */
}

void main(char *command_line)
{
    const char *lines = option(command_line, "lines");
    const char *exit = option(command_line, "exit");
    const char *crash = option(command_line, "crash");
    const char *fault_asked = option(command_line, "fault");
    bool quiet = option(command_line, "quiet");
    uint64_t start = now();

    hello(command_line);
    for (unsigned long i = 1; lines && i <= number(lines); i++)
        print("line %lu of %lu\n", i, number(lines));
    if (crash && number(crash)) {
        print("crashing, as asked\n");
        power_crash();
    }
    if (fault_asked && number(fault_asked))
        fault();
    power_open();
    for (unsigned long tick = 1;; tick++) {
        sleep_until(start + tick * SECOND);
        if (!quiet)
            print("tick %lu\n", tick);
        if (exit && tick >= number(exit)) {
            print("bye\n");
            return;
        }
        power_obey();
    }
}
