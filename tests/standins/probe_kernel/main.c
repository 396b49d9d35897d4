/* Answers `GET /PORT`, and before that sends a UDP datagram to that port of the client: with examples/http's network. */
#include "net.h"

struct udp {
    uint16_t from_port, to_port, size, checksum; /* 0: none */
    char data[5];
} PACKED;

size_t respond(const struct host *client, const char *request, size_t size, char *response)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nsent";
    struct udp *packet = ip_payload();

    if (size < 4 || memcmp(request + size - 4, "\r\n\r\n", 4))
        return 0;
    *packet = (struct udp){be16(7), be16((uint16_t)number(request + 5)), be16(sizeof(*packet)), 0, "probe"};
    ip_send(client, IP_UDP, sizeof(*packet));
    memcpy(response, answer, sizeof(answer) - 1);
    return sizeof(answer) - 1;
}

void main(char *command_line)
{
    (void)command_line;
    if (!netfront_open(0)) {
        print("there is no vif, or dom0 does not connect it\n");
        return;
    }
    power_open();
    for (;;) {
        ip_poll();
        dhcp_tick();
        tcp_tick();
        power_obey();
        wait(now() + SECOND / 10);
    }
}
