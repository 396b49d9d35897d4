/* How the domain stops.  `xl shutdown` and `xl reboot` write the action to control/shutdown. */
#include "hypercall.h"

#include <xen/sched.h>

static _Noreturn void end(unsigned reason)
{
    struct sched_shutdown shutdown = {reason};

    console_flush();
    for (;;)
        hypercall_op(__HYPERVISOR_sched_op, SCHEDOP_shutdown, &shutdown);
}

_Noreturn void power_off(void)
{
    end(SHUTDOWN_poweroff);
}

_Noreturn void power_crash(void)
{
    end(SHUTDOWN_crash);
}

void power_open(void)
{
    xenstore_write("control/feature-poweroff", "1");
    xenstore_write("control/feature-reboot", "1");
}

void power_obey(void)
{
    char request[16];

    if (!xenstore_read("control/shutdown", request, sizeof(request)) || !request[0])
        return;
    xenstore_write("control/shutdown", ""); /* xl waits for this answer */
    print("asked to %s\n", request);
    if (starts_with(request, "reboot"))
        end(SHUTDOWN_reboot);
    if (starts_with(request, "poweroff") || starts_with(request, "halt"))
        end(SHUTDOWN_poweroff);
}
