/* DHCP (RFC 2131): DISCOVER, OFFER, REQUEST, ACK; half-way through the lease, REQUEST again. */
#include "net.h"

enum { DISCOVER = 1, OFFER = 2, REQUEST = 3, ACK = 5, NAK = 6 };
enum { OPTION_ADDRESS = 50, OPTION_LEASE = 51, OPTION_TYPE = 53, OPTION_SERVER = 54, OPTION_END = 255 };
enum { CLIENT_PORT = 68, SERVER_PORT = 67, COOKIE = 0x63825363, BROADCAST = 0x8000 };

struct dhcp {
    uint16_t from_port, to_port, udp_size, udp_checksum;
    uint8_t operation, hardware, hardware_size, hops;
    uint32_t transaction;
    uint16_t seconds, flags;
    uint32_t client, yours, server, gateway;
    uint8_t hardware_address[16], names[192];
    uint32_t cookie;
    uint8_t options[300];
} PACKED;

static enum { LOOKING, ASKING, BOUND } state;
static uint32_t transaction, offered, server;
static uint64_t next;
static unsigned tries;

static uint8_t *add(uint8_t *option, uint8_t type, const void *value, uint8_t size)
{
    option[0] = type;
    option[1] = size;
    memcpy(option + 2, value, size);
    return option + 2 + size;
}

static const uint8_t *find(const struct dhcp *packet, size_t size, uint8_t type, uint8_t value_size)
{
    const uint8_t *option = packet->options, *end = (const uint8_t *)packet + size;

    while (option + 1 < end && *option != OPTION_END) {
        if (*option == 0) {
            option++;
            continue;
        }
        if (option + 2 + option[1] > end)
            return NULL;
        if (option[0] == type && option[1] == value_size)
            return option + 2;
        option += 2 + option[1];
    }
    return NULL;
}

static uint32_t read_number(const uint8_t *value)
{
    uint32_t result = 0;

    if (value)
        memcpy(&result, value, sizeof(result));
    return result;
}

static void ask(uint8_t type)
{
    struct dhcp *packet = ip_payload();
    uint8_t *option = packet->options;

    memset(packet, 0, sizeof(*packet));
    packet->from_port = be16(CLIENT_PORT);
    packet->to_port = be16(SERVER_PORT);
    packet->udp_size = be16(sizeof(*packet));
    packet->operation = packet->hardware = 1;
    packet->hardware_size = 6;
    packet->transaction = transaction;
    packet->flags = be16(BROADCAST);
    packet->client = state == BOUND ? ip_address : 0;
    memcpy(packet->hardware_address, mac_address, 6);
    packet->cookie = be32(COOKIE);
    option = add(option, OPTION_TYPE, &type, 1);
    if (type == REQUEST && state == ASKING) {
        option = add(option, OPTION_ADDRESS, &offered, 4);
        option = add(option, OPTION_SERVER, &server, 4);
    }
    *option = OPTION_END;
    ip_send(&everybody, IP_UDP, sizeof(*packet));
}

void dhcp_input(const void *data, size_t size)
{
    const struct dhcp *packet = data;

    if (size < sizeof(*packet) - sizeof(packet->options) || be16(packet->to_port) != CLIENT_PORT ||
        packet->operation != 2 || packet->transaction != transaction || be32(packet->cookie) != COOKIE ||
        memcmp(packet->hardware_address, mac_address, 6))
        return;
    const uint8_t *type = find(packet, size, OPTION_TYPE, 1);
    uint32_t lease = be32(read_number(find(packet, size, OPTION_LEASE, 4)));
    if (type && *type == OFFER && state == LOOKING) {
        offered = packet->yours;
        server = packet->server; /* as Mirage's client does, which ignores option 54 */
        state = ASKING;
        tries = 0;
        next = now();
    } else if (type && *type == ACK && state != LOOKING && lease) {
        if (ip_address != packet->yours) {
            ip_address = packet->yours;
            print("address ");
            print_address(ip_address);
            print(", leased for %u s\n", lease);
        }
        state = BOUND;
        tries = 0;
        next = now() + lease * SECOND / 2;
    } else if (type && *type == NAK && state != LOOKING) {
        state = LOOKING;
        ip_address = 0;
        next = now();
    }
}

void dhcp_tick(void)
{
    if (now() < next)
        return;
    if (state != LOOKING && tries >= 4) { /* no answer: look for another server */
        state = LOOKING;
        ip_address = 0;
        tries = 0;
    }
    if (!transaction)
        transaction = (uint32_t)wall_clock() ^ be32(*(uint32_t *)(mac_address + 2));
    ask(state == LOOKING ? DISCOVER : REQUEST);
    next = now() + (SECOND << (tries < 4 ? tries : 4));
    tries++;
}
