/* The layers of the network, each a separate file, from the wire upwards. */
#ifndef NET_H
#define NET_H

#include "kernel.h"

#define FRAME_SIZE 1514
#define SEGMENT_SIZE 1460
#define REQUEST_SIZE 2048
#define RESPONSE_SIZE 16384
#define PACKED __attribute__((packed))

/* Numbers on the wire are big-endian. */
#define be16(x) __builtin_bswap16(x)
#define be32(x) __builtin_bswap32(x)

/* netfront.c: the vif. */
extern uint8_t mac_address[6];
bool netfront_open(unsigned lose);                      /* drops every lose'th frame; 0: none */
void netfront_send(const void *frame, size_t size);
size_t netfront_receive(void *frame);                   /* the frame's size, or 0 if there is none */

/* ip.c: Ethernet, ARP, IPv4, ICMP echo. */
struct host {
    uint8_t mac[6];
    uint32_t address; /* as on the wire */
} PACKED;
extern uint32_t ip_address; /* as on the wire; 0 while there is none */
extern const struct host everybody;

enum { IP_ICMP = 1, IP_TCP = 6, IP_UDP = 17 };

void ip_poll(void);                                     /* process all frames that have arrived */
void *ip_payload(void);                                 /* where to build a packet before ip_send() */
void ip_send(const struct host *to, uint8_t protocol, size_t size);
uint32_t sum(const void *data, size_t size, uint32_t start);
uint16_t checksum(uint32_t sum);
uint16_t checksum_with_hosts(uint32_t a, uint32_t b, uint8_t protocol, const void *data, size_t size);
void print_address(uint32_t address);

/* dhcp.c: gets an address and renews it. */
void dhcp_input(const void *packet, size_t size);
void dhcp_tick(void);

/* tcp.c: a server on port 80. */
void tcp_input(const struct host *from, const void *packet, size_t size);
void tcp_tick(void);

/* main.c: the answer to what a client has sent so far; its size, or 0 while the request is incomplete. */
size_t respond(const struct host *client, const char *request, size_t size, char *response);

#endif
