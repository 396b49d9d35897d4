/* Xenstore: requests and replies in a page shared with dom0, one after the other (xen/io/xs_wire.h). */
#include "kernel.h"

#include <xen/io/xs_wire.h>

static volatile struct xenstore_domain_interface *ring;
static evtchn_port_t port;

static void open(void)
{
    struct ring_page xenstore = platform_xenstore();

    ring = xenstore.page;
    port = xenstore.port;
    event_open(port);
}

static void send(const void *data, size_t size)
{
    for (const char *byte = data; size--; byte++) {
        while (ring->req_prod - ring->req_cons >= XENSTORE_RING_SIZE) {
            event_send(port);
            wait(now() + SECOND / 10);
        }
        ring->req[MASK_XENSTORE_IDX(ring->req_prod)] = *byte;
        barrier();
        ring->req_prod++;
    }
}

static char receive(void)
{
    while (ring->rsp_cons == ring->rsp_prod) {
        event_send(port);
        wait(now() + SECOND / 10);
    }
    barrier();
    char byte = ring->rsp[MASK_XENSTORE_IDX(ring->rsp_cons)];
    barrier();
    ring->rsp_cons++;
    return byte;
}

/* The path is sent with its final zero, a value to write without one. */
static bool ask(uint32_t type, const char *path, const char *value, char *answer, size_t size)
{
    struct xsd_sockmsg message = {.type = type, .len = strlen(path) + 1 + strlen(value)};

    if (!ring)
        open();
    send(&message, sizeof(message));
    send(path, strlen(path) + 1);
    send(value, strlen(value));
    event_send(port);
    for (size_t i = 0; i < sizeof(message); i++)
        ((char *)&message)[i] = receive();
    for (uint32_t i = 0; i < message.len; i++) {
        char byte = receive();
        if (i + 1 < size)
            answer[i] = byte;
    }
    event_send(port);
    if (size)
        answer[message.len < size ? message.len : size - 1] = 0;
    return message.type != XS_ERROR;
}

bool xenstore_read(const char *path, char *value, size_t size)
{
    bool found = ask(XS_READ, path, "", value, size);

    if (!found)
        value[0] = 0;
    return found;
}

bool xenstore_write(const char *path, const char *value)
{
    return ask(XS_WRITE, path, value, NULL, 0);
}
