/* TCP (RFC 9293), as much as a server needs to read one request, send one response and close. */
#include "net.h"

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };
enum { PORT = 80, CONNECTIONS = 32, MOST_TRIES = 8, OPTION_MSS = 2, DEFAULT_MSS = 536 };

#define FIRST_TIMEOUT (SECOND / 4)
#define LINGER (5 * SECOND)   /* how long a closed connection answers repeated segments */
#define IDLE_MAX (20 * SECOND) /* how long a client may be silent */

struct tcp {
    uint16_t from, to;
    uint32_t sequence, acknowledgement;
    uint8_t offset, flags;
    uint16_t window, checksum, urgent;
} PACKED;

/* All numbers are sequence numbers: they wrap around, so only differences are compared. */
struct connection {
    enum { UNUSED, OPENING, OPEN, ENDED } state;
    struct host client;
    uint16_t port;
    uint32_t first;    /* number of the response's first byte */
    uint32_t arrived;  /* all before it was acknowledged */
    uint32_t sent;     /* the next one to send */
    uint32_t furthest; /* the next one that was never sent */
    uint32_t expected; /* the next one from the client */
    uint32_t window, segment;
    bool answered, heard_end;
    uint64_t deadline, timeout;
    unsigned tries;
    size_t request_size, response_size;
    char request[REQUEST_SIZE], response[RESPONSE_SIZE];
};

static struct connection connections[CONNECTIONS];

static bool before(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static void put(const struct host *to, struct tcp header, const void *data, size_t size)
{
    struct tcp *packet = ip_payload();
    size_t header_size = sizeof(header);

    *packet = header;
    packet->from = be16(PORT);
    if (header.flags & SYN) {
        const uint8_t mss[] = {OPTION_MSS, 4, SEGMENT_SIZE >> 8, SEGMENT_SIZE & 255};
        memcpy(packet + 1, mss, sizeof(mss));
        header_size += sizeof(mss);
    }
    packet->offset = (uint8_t)(header_size / 4 << 4);
    memcpy((uint8_t *)packet + header_size, data, size);
    size += header_size;
    packet->checksum = checksum_with_hosts(ip_address, to->address, IP_TCP, packet, size);
    ip_send(to, IP_TCP, size);
}

static void send_segment(struct connection *c, uint32_t sequence, uint8_t flags, const void *data, size_t size)
{
    put(&c->client, (struct tcp){
        .to = be16(c->port),
        .sequence = be32(sequence),
        .acknowledgement = be32(c->expected),
        .flags = flags,
        .window = be16((uint16_t)(REQUEST_SIZE - c->request_size)),
    }, data, size);
}

/* Send as much as the client's window takes; returns whether anything was sent. */
static bool transmit(struct connection *c)
{
    uint32_t end = c->first + (uint32_t)c->response_size;
    bool any = false;

    while (c->answered && !before(end, c->sent)) {
        uint32_t size = smaller(smaller(end - c->sent, c->segment), c->arrived + c->window - c->sent);
        if (before(c->arrived + c->window, c->sent))
            size = 0;
        bool last = c->sent + size == end;
        if (!size && !last)
            break;
        send_segment(c, c->sent, (uint8_t)(ACK | (last ? PSH | FIN : 0)), c->response + (c->sent - c->first), size);
        c->sent += size + last;
        if (before(c->furthest, c->sent))
            c->furthest = c->sent;
        any = true;
    }
    return any;
}

static void rest(struct connection *c)
{
    bool waiting = c->state == OPENING || (c->answered && c->arrived != c->first + c->response_size + 1);

    c->deadline = now() + (c->state == ENDED ? LINGER : waiting ? c->timeout : IDLE_MAX);
}

/* A segment that belongs to no connection: say so, unless it says so itself (RFC 9293, 3.10.7.1). */
static void refuse(const struct host *from, const struct tcp *packet, uint32_t length)
{
    struct tcp header = {.to = packet->from, .flags = RST};

    if (packet->flags & RST)
        return;
    if (packet->flags & ACK) {
        header.sequence = packet->acknowledgement;
    } else {
        header.flags |= ACK;
        header.acknowledgement = be32(be32(packet->sequence) + length);
    }
    put(from, header, NULL, 0);
}

static uint32_t segment_size(const uint8_t *option, const uint8_t *end)
{
    while (option + 3 < end && *option) {
        if (*option == OPTION_MSS && option[1] == 4) {
            uint32_t size = (uint32_t)(option[2] << 8 | option[3]);
            return size < 64 ? 64 : smaller(size, SEGMENT_SIZE);
        }
        option += *option == 1 ? 1 : option[1] < 2 ? 2 : option[1];
    }
    return DEFAULT_MSS;
}

static struct connection *unused(void)
{
    struct connection *ended = NULL;

    for (struct connection *c = connections; c < connections + CONNECTIONS; c++) {
        if (c->state == UNUSED)
            return c;
        if (c->state == ENDED && (!ended || c->deadline < ended->deadline))
            ended = c;
    }
    return ended; /* NULL if all are busy: the client will try again */
}

static void open(struct connection *c, const struct host *from, const struct tcp *packet, const uint8_t *data)
{
    c->state = OPENING;
    c->client = *from;
    c->port = be16(packet->from);
    c->first = (uint32_t)(now() / 4000) + c->port * 2654435761u + 1;
    c->arrived = c->first - 1;
    c->sent = c->furthest = c->first;
    c->expected = be32(packet->sequence) + 1;
    c->window = be16(packet->window);
    c->segment = segment_size((const uint8_t *)(packet + 1), data);
    c->answered = c->heard_end = false;
    c->request_size = c->response_size = 0;
    c->timeout = FIRST_TIMEOUT;
    c->tries = 0;
    send_segment(c, c->first - 1, SYN | ACK, NULL, 0);
    rest(c);
}

/* Take what is new in the segment's data; what arrives too early will arrive again. */
static void take(struct connection *c, uint32_t sequence, const uint8_t *data, uint32_t size, bool fin)
{
    uint32_t known = c->expected - sequence;

    if (before(c->expected, sequence) || known > size)
        return;
    uint32_t fresh = size - known;
    if (!c->answered) {
        fresh = smaller(fresh, REQUEST_SIZE - (uint32_t)c->request_size);
        memcpy(c->request + c->request_size, data + known, fresh);
        c->request_size += fresh;
    }
    c->expected += fresh;
    if (fin && !c->heard_end && known + fresh == size) {
        c->expected++;
        c->heard_end = true;
    }
    if (!c->answered) {
        c->response_size = respond(&c->client, c->request, c->request_size, c->response);
        c->answered = c->response_size || c->heard_end;
    }
}

static void advance(struct connection *c, const struct tcp *packet, const uint8_t *data, uint32_t size)
{
    uint32_t sequence = be32(packet->sequence), acknowledged = be32(packet->acknowledgement);
    bool fin = packet->flags & FIN;

    if (packet->flags & RST) {
        if (sequence == c->expected)
            c->state = UNUSED;
        return;
    }
    if (packet->flags & SYN) {
        bool again = c->state == OPENING && sequence + 1 == c->expected;
        send_segment(c, again ? c->first - 1 : c->sent, again ? SYN | ACK : ACK, NULL, 0);
        return;
    }
    if (!(packet->flags & ACK) || before(acknowledged, c->arrived))
        return;
    if (before(c->furthest, acknowledged)) { /* of data that was never sent */
        send_segment(c, c->sent, ACK, NULL, 0);
        return;
    }
    if (c->state == OPENING && acknowledged == c->first)
        c->state = OPEN;
    if (acknowledged != c->arrived) {
        c->arrived = acknowledged;
        if (before(c->sent, acknowledged))
            c->sent = acknowledged;
        c->timeout = FIRST_TIMEOUT;
        c->tries = 0;
    }
    c->window = be16(packet->window);
    if (c->state == OPEN)
        take(c, sequence, data, size, fin);
    if (c->state == OPEN && c->heard_end && c->answered && c->arrived == c->first + c->response_size + 1)
        c->state = ENDED;
    if (!transmit(c) && (size || fin))
        send_segment(c, c->sent, ACK, NULL, 0);
    rest(c);
}

void tcp_input(const struct host *from, const void *data, size_t size)
{
    const struct tcp *packet = data;
    struct connection *c = connections;
    uint32_t header = size < sizeof(*packet) ? 0 : (packet->offset >> 4) * 4u;

    if (header < sizeof(*packet) || header > size)
        return;
    if (checksum_with_hosts(from->address, ip_address, IP_TCP, data, size))
        return;
    const uint8_t *start = (const uint8_t *)data + header;
    uint32_t length = (uint32_t)size - header;
    while (c < connections + CONNECTIONS &&
           !(c->state != UNUSED && c->port == be16(packet->from) && c->client.address == from->address))
        c++;
    bool found = c < connections + CONNECTIONS;
    bool opens = (packet->flags & (SYN | ACK | RST)) == SYN && be16(packet->to) == PORT;
    if (opens && found && c->state == ENDED && before(c->expected, be32(packet->sequence)))
        open(c, from, packet, start); /* the client uses its port again */
    else if (opens && !found && (c = unused()))
        open(c, from, packet, start);
    else if (found && be16(packet->to) == PORT)
        advance(c, packet, start, length);
    else if (!opens)
        refuse(from, packet, length + !!(packet->flags & SYN) + !!(packet->flags & FIN));
}

void tcp_tick(void)
{
    for (struct connection *c = connections; c < connections + CONNECTIONS; c++) {
        if (c->state == UNUSED || now() < c->deadline)
            continue;
        bool silent = c->state == OPEN && (!c->answered || c->arrived == c->first + c->response_size + 1);
        if (c->state == ENDED) {
            c->state = UNUSED;
        } else if (silent || ++c->tries > MOST_TRIES) {
            send_segment(c, c->sent, RST | ACK, NULL, 0);
            c->state = UNUSED;
        } else { /* from the first byte that did not arrive, at least one even if the window is closed */
            c->timeout *= 2;
            c->sent = c->state == OPENING ? c->first : c->arrived;
            c->window = c->window ? c->window : 1;
            if (c->state == OPENING)
                send_segment(c, c->first - 1, SYN | ACK, NULL, 0);
            else
                transmit(c);
            rest(c);
        }
    }
}
