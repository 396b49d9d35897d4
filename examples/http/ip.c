/* Ethernet, ARP, IPv4 and ICMP echo.  An answer goes to the Ethernet address that the question came from. */
#include "net.h"

enum { TYPE_IP = 0x0800, TYPE_ARP = 0x0806, ARP_REQUEST = 1, ARP_REPLY = 2, ECHO_REQUEST = 8 };

struct ethernet {
    uint8_t to[6], from[6];
    uint16_t type;
} PACKED;

struct arp {
    uint16_t hardware, protocol;
    uint8_t hardware_size, protocol_size;
    uint16_t operation;
    struct host sender, target;
} PACKED;

struct ip {
    uint8_t version, service;
    uint16_t size, id, fragment;
    uint8_t hops, protocol;
    uint16_t checksum;
    uint32_t from, to;
} PACKED;

struct icmp {
    uint8_t type, code;
    uint16_t checksum;
} PACKED;

struct frame {
    struct ethernet ethernet;
    union {
        struct arp arp;
        struct {
            struct ip ip;
            uint8_t payload[SEGMENT_SIZE + 20];
        } PACKED;
    } PACKED;
} PACKED;

uint32_t ip_address;
const struct host everybody = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 0xffffffff};

static struct frame in, out;

uint32_t sum(const void *data, size_t size, uint32_t start)
{
    const uint8_t *byte = data;

    for (; size > 1; size -= 2, byte += 2)
        start += (uint32_t)(byte[0] << 8 | byte[1]);
    return size ? start + (uint32_t)(byte[0] << 8) : start;
}

uint16_t checksum(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return be16((uint16_t)~sum);
}

/* TCP and UDP include the addresses; the sum over data with the right checksum is 0. */
uint16_t checksum_with_hosts(uint32_t a, uint32_t b, uint8_t protocol, const void *data, size_t size)
{
    uint32_t addresses[] = {a, b};

    return checksum(sum(data, size, sum(addresses, sizeof(addresses), protocol + (uint32_t)size)));
}

void print_address(uint32_t address)
{
    const uint8_t *byte = (const uint8_t *)&address;

    print("%u.%u.%u.%u", byte[0], byte[1], byte[2], byte[3]);
}

static void send(const uint8_t to[6], uint16_t type, size_t size)
{
    memcpy(out.ethernet.to, to, 6);
    memcpy(out.ethernet.from, mac_address, 6);
    out.ethernet.type = be16(type);
    netfront_send(&out, sizeof(out.ethernet) + size);
}

void *ip_payload(void)
{
    return out.payload;
}

void ip_send(const struct host *to, uint8_t protocol, size_t size)
{
    static uint16_t id;

    out.ip = (struct ip){
        .version = 0x45,
        .size = be16((uint16_t)(sizeof(out.ip) + size)),
        .id = be16(++id),
        .fragment = be16(0x4000), /* do not fragment */
        .hops = 64,
        .protocol = protocol,
        .from = ip_address,
        .to = to->address,
    };
    out.ip.checksum = checksum(sum(&out.ip, sizeof(out.ip), 0));
    send(to->mac, TYPE_IP, sizeof(out.ip) + size);
}

static void arp_input(void)
{
    if (be16(in.arp.operation) != ARP_REQUEST || !ip_address || in.arp.target.address != ip_address)
        return;
    out.arp = in.arp;
    out.arp.operation = be16(ARP_REPLY);
    out.arp.target = in.arp.sender;
    memcpy(out.arp.sender.mac, mac_address, 6);
    out.arp.sender.address = ip_address;
    send(in.arp.sender.mac, TYPE_ARP, sizeof(out.arp));
}

static void icmp_input(const struct host *from, const void *packet, size_t size)
{
    const struct icmp *request = packet;
    struct icmp *reply = ip_payload();

    if (size < sizeof(*request) || request->type != ECHO_REQUEST || checksum(sum(packet, size, 0)))
        return;
    memcpy(reply, packet, size);
    reply->type = reply->checksum = 0;
    reply->checksum = checksum(sum(reply, size, 0));
    ip_send(from, IP_ICMP, size);
}

static void ip_input(size_t frame_size)
{
    size_t header = (in.ip.version & 15) * 4u, size = be16(in.ip.size);
    const uint8_t *packet = (const uint8_t *)&in.ip + header;
    struct host from = {.address = in.ip.from};

    if (in.ip.version >> 4 != 4 || header < sizeof(in.ip) || size < header || size > frame_size - sizeof(in.ethernet))
        return;
    if (checksum(sum(&in.ip, header, 0)) || be16(in.ip.fragment) & 0x3fff)
        return; /* damaged, or a fragment, which no client needs to send */
    memcpy(from.mac, in.ethernet.from, 6);
    size -= header;
    if (in.ip.protocol == IP_UDP)
        dhcp_input(packet, size);
    else if (!ip_address || in.ip.to != ip_address)
        return;
    else if (in.ip.protocol == IP_ICMP)
        icmp_input(&from, packet, size);
    else if (in.ip.protocol == IP_TCP)
        tcp_input(&from, packet, size);
}

void ip_poll(void)
{
    for (size_t size = netfront_receive(&in); size; size = netfront_receive(&in)) {
        if (size >= sizeof(struct ethernet) + sizeof(struct arp) && be16(in.ethernet.type) == TYPE_ARP)
            arp_input();
        if (size >= sizeof(struct ethernet) + sizeof(struct ip) && be16(in.ethernet.type) == TYPE_IP)
            ip_input(size);
    }
}
