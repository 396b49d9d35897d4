/* The console: a page shared with dom0 that holds a ring for each direction (xen/io/console.h). */
#include "kernel.h"

#include <xen/io/console.h>

static struct xencons_interface *ring;
static evtchn_port_t port;

static void open(void)
{
    struct ring_page console = platform_console();

    ring = console.page;
    port = console.port;
    event_open(port);
}

static bool full(void)
{
    return ring->out_prod - *(volatile XENCONS_RING_IDX *)&ring->out_cons >= sizeof(ring->out);
}

/* No output is ever dropped: if the ring is full, wait for dom0. */
static void put(char c)
{
    while (full()) {
        event_send(port);
        wait(now() + SECOND / 10);
    }
    ring->out[MASK_XENCONS_IDX(ring->out_prod, ring->out)] = c;
    barrier();
    ring->out_prod++;
}

void console_write(char c)
{
    if (!ring)
        open();
    if (c == '\n')
        put('\r');
    put(c);
    if (c == '\n')
        event_send(port);
}

int console_read(void)
{
    if (!ring)
        open();
    if (ring->in_cons == *(volatile XENCONS_RING_IDX *)&ring->in_prod)
        return -1;
    barrier();
    unsigned char c = ring->in[MASK_XENCONS_IDX(ring->in_cons, ring->in)];
    barrier();
    ring->in_cons++;
    event_send(port);
    return c;
}

void console_flush(void)
{
    while (ring && ring->out_prod != *(volatile XENCONS_RING_IDX *)&ring->out_cons) {
        event_send(port);
        wait(now() + SECOND / 10);
    }
}
