/* Event channels without interrupts: one call sleeps until a port has an event, or a time is reached. */
#include "hypercall.h"

#include <xen/sched.h>

static evtchn_port_t ports[8];
static unsigned count;

void event_open(evtchn_port_t port)
{
    ports[count++] = port;
}

void event_send(evtchn_port_t port)
{
    struct evtchn_send send = {port};

    hypercall_op(__HYPERVISOR_event_channel_op, EVTCHNOP_send, &send);
}

static void clear(evtchn_port_t port)
{
    __asm__ volatile("lock btrq %1, %0"
                     : "+m"(shared_info->evtchn_pending[port / 64])
                     : "r"((uint64_t)port % 64)
                     : "memory");
}

/* Clear the events here, after the sleep: the caller looks at the rings afterwards, so it misses nothing. */
void wait(uint64_t until)
{
    struct sched_poll poll = {.nr_ports = count, .timeout = until};

    set_xen_guest_handle(poll.ports, ports);
    hypercall_op(__HYPERVISOR_sched_op, SCHEDOP_poll, &poll);
    for (unsigned i = 0; i < count; i++)
        clear(ports[i]);
    shared_info->vcpu_info[0].evtchn_upcall_pending = 0;
    shared_info->vcpu_info[0].evtchn_pending_sel = 0;
}
