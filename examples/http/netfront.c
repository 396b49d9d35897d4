/* The vif: two rings of requests and responses, shared with dom0's netback (xen/io/netif.h).
 * Every page is granted to dom0 once and for good. */
#include "hypercall.h"
#include "net.h"

#define xen_mb() barrier()
#define xen_rmb() barrier()
#define xen_wmb() barrier()
#include <xen/grant_table.h>
#include <xen/io/netif.h>
#include <xen/io/xenbus.h>

#define SLOTS 64u

uint8_t mac_address[6];

static grant_entry_v1_t grants[PAGE_SIZE / sizeof(grant_entry_v1_t)] PAGE_ALIGNED;
static grant_ref_t next_grant = GNTTAB_NR_RESERVED_ENTRIES;
static char send_page[PAGE_SIZE] PAGE_ALIGNED, receive_page[PAGE_SIZE] PAGE_ALIGNED;
static char send_pages[SLOTS][PAGE_SIZE] PAGE_ALIGNED, receive_pages[SLOTS][PAGE_SIZE] PAGE_ALIGNED;
static grant_ref_t send_grants[SLOTS], receive_grants[SLOTS];
static uint16_t free_slots[SLOTS];
static unsigned free_count, lose_every;
static netif_tx_front_ring_t sends;
static netif_rx_front_ring_t receives;
static evtchn_port_t port;
static domid_t backend;

static grant_ref_t grant(const void *page)
{
    grants[next_grant].domid = backend;
    grants[next_grant].frame = (uint32_t)platform_frame(page);
    barrier();
    grants[next_grant].flags = GTF_permit_access;
    return next_grant++;
}

static bool lose(void)
{
    static unsigned count;

    return lose_every && ++count % lose_every == 0;
}

static void offer(uint16_t slot)
{
    netif_rx_request_t *request = RING_GET_REQUEST(&receives, receives.req_prod_pvt++);

    request->id = slot;
    request->gref = receive_grants[slot];
}

static void push_receives(void)
{
    int notify;

    RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&receives, notify);
    if (notify)
        event_send(port);
}

static void set_up_rings(void)
{
    netif_tx_sring_t *send_ring = (netif_tx_sring_t *)send_page;
    netif_rx_sring_t *receive_ring = (netif_rx_sring_t *)receive_page;

    SHARED_RING_INIT(send_ring);
    FRONT_RING_INIT(&sends, send_ring, PAGE_SIZE);
    SHARED_RING_INIT(receive_ring);
    FRONT_RING_INIT(&receives, receive_ring, PAGE_SIZE);
    for (uint16_t slot = 0; slot < SLOTS; slot++) {
        send_grants[slot] = grant(send_pages[slot]);
        receive_grants[slot] = grant(receive_pages[slot]);
        free_slots[free_count++] = slot;
        offer(slot);
    }
    push_receives();
}

static void write_number(const char *path, unsigned value)
{
    char digits[12];
    char *digit = digits + sizeof(digits) - 1;

    *digit = 0;
    do
        *--digit = (char)('0' + value % 10);
    while (value /= 10);
    xenstore_write(path, digit);
}

static bool backend_reaches(enum xenbus_state state)
{
    char path[128], value[8];
    uint64_t deadline = now() + 20 * SECOND;

    xenstore_read("device/vif/0/backend", path, sizeof(path) - sizeof("/state"));
    memcpy(path + strlen(path), "/state", sizeof("/state"));
    while (!xenstore_read(path, value, sizeof(value)) || number(value) != state) {
        if (now() > deadline)
            return false;
        wait(now() + SECOND / 20);
    }
    return true;
}

static unsigned hex_digit(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 32) - 'a' + 10);
}

bool netfront_open(unsigned lose)
{
    struct evtchn_alloc_unbound channel = {.dom = DOMID_SELF};
    char value[32];

    lose_every = lose;
    if (!xenstore_read("device/vif/0/backend-id", value, sizeof(value)))
        return false;
    backend = channel.remote_dom = (domid_t)number(value);
    xenstore_read("device/vif/0/mac", value, sizeof(value));
    for (unsigned i = 0; i < 6; i++)
        mac_address[i] = (uint8_t)(hex_digit(value[3 * i]) << 4 | hex_digit(value[3 * i + 1]));
    if (!backend_reaches(XenbusStateInitWait) || !platform_map_grants(grants, 1))
        return false;
    hypercall_op(__HYPERVISOR_event_channel_op, EVTCHNOP_alloc_unbound, &channel);
    port = channel.port;
    event_open(port);
    set_up_rings();
    write_number("device/vif/0/tx-ring-ref", grant(send_page));
    write_number("device/vif/0/rx-ring-ref", grant(receive_page));
    write_number("device/vif/0/event-channel", port);
    write_number("device/vif/0/request-rx-copy", 1);
    write_number("device/vif/0/feature-rx-notify", 1);
    write_number("device/vif/0/feature-no-csum-offload", 1); /* packets must carry their checksums */
    write_number("device/vif/0/state", XenbusStateConnected);
    return backend_reaches(XenbusStateConnected);
}

static void reclaim(void)
{
    for (; RING_HAS_UNCONSUMED_RESPONSES(&sends); sends.rsp_cons++) {
        barrier();
        free_slots[free_count++] = RING_GET_RESPONSE(&sends, sends.rsp_cons)->id;
    }
}

/* If dom0 has not taken the last SLOTS frames yet, this one is lost, as on any wire: TCP sends it again. */
void netfront_send(const void *frame, size_t size)
{
    int notify;

    reclaim();
    if (!free_count || lose())
        return;
    uint16_t slot = free_slots[--free_count];
    memcpy(send_pages[slot], frame, size);
    netif_tx_request_t *request = RING_GET_REQUEST(&sends, sends.req_prod_pvt++);
    *request = (netif_tx_request_t){.gref = send_grants[slot], .id = slot, .size = (uint16_t)size};
    RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&sends, notify);
    if (notify)
        event_send(port);
}

size_t netfront_receive(void *frame)
{
    int more;

    for (;;) {
        RING_FINAL_CHECK_FOR_RESPONSES(&receives, more);
        if (!more)
            return 0;
        netif_rx_response_t response = *RING_GET_RESPONSE(&receives, receives.rsp_cons++);
        bool good = response.status > 0 && response.status <= FRAME_SIZE && response.id < SLOTS &&
                    response.offset <= PAGE_SIZE - FRAME_SIZE && !lose();
        if (good)
            memcpy(frame, receive_pages[response.id] + response.offset, (size_t)response.status);
        offer(response.id % SLOTS);
        push_receives();
        if (good)
            return (size_t)response.status;
    }
}
