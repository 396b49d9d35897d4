/* Serves two pages over HTTP: / describes the domain, /lines is long enough for several packets.
 *
 * Words of the command line, all of them optional:
 *   lose=N   drop every Nth frame, to test that TCP recovers
 */
#include "net.h"

static char domain_name[64];
static unsigned long served;

static char *append(char *at, const char *text)
{
    size_t size = strlen(text);

    memcpy(at, text, size);
    return at + size;
}

static char *append_number(char *at, unsigned long value)
{
    if (value >= 10)
        at = append_number(at, value / 10);
    *at = (char)('0' + value % 10);
    return at + 1;
}

static char *about(char *at)
{
    at = append(at, "hello from ");
    at = append(at, domain_name);
    at = append(at, ", a ");
    at = append(at, platform_name);
    at = append(at, " domain\nrequests served: ");
    at = append_number(at, served);
    at = append(at, "\nseconds up: ");
    at = append_number(at, now() / SECOND);
    return append(at, "\n");
}

static char *lines(char *at)
{
    for (unsigned long i = 1; i <= 1000; i++) {
        at = append(at, "line ");
        at = append_number(at, i);
        at = append(at, "\n");
    }
    return at;
}

static bool is_whole(const char *request, size_t size)
{
    for (size_t i = 3; i < size; i++)
        if (memcmp(request + i - 3, "\r\n\r\n", 4) == 0)
            return true;
    return false;
}

size_t respond(const struct host *client, const char *request, size_t size, char *response)
{
    static char body[RESPONSE_SIZE - 256];
    const char *status = "200 OK";
    char *end = body;
    bool head;

    if (!is_whole(request, size) && size < REQUEST_SIZE)
        return 0;
    served++;
    head = starts_with(request, "HEAD ");
    if (!is_whole(request, size))
        end = append(end, status = "431 Request Header Fields Too Large");
    else if (!head && !starts_with(request, "GET "))
        end = append(end, status = "405 Method Not Allowed");
    else if (starts_with(request + (head ? 5 : 4), "/ "))
        end = about(end);
    else if (starts_with(request + (head ? 5 : 4), "/lines "))
        end = lines(end);
    else
        end = append(end, status = "404 Not Found");
    char *at = append(response, "HTTP/1.1 ");
    at = append(at, status);
    at = append(at, "\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: ");
    at = append_number(at, (unsigned long)(end - body));
    at = append(at, "\r\n\r\n");
    if (!head) {
        memcpy(at, body, (size_t)(end - body));
        at += end - body;
    }
    print("request %lu from ", served);
    print_address(client->address);
    print(": %s\n", status);
    return (size_t)(at - response);
}

void main(char *command_line)
{
    const char *lose = option(command_line, "lose");
    uint64_t next = 0;

    xenstore_read("name", domain_name, sizeof(domain_name));
    print("http from %s, a %s domain\n", domain_name, platform_name);
    if (!netfront_open(lose ? (unsigned)number(lose) : 0)) {
        print("there is no vif, or dom0 does not connect it\n");
        return;
    }
    power_open();
    for (;;) {
        ip_poll();
        dhcp_tick();
        tcp_tick();
        if (now() >= next) {
            power_obey();
            next = now() + SECOND;
        }
        wait(now() + SECOND / 10);
    }
}
