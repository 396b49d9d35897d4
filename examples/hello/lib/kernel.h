/* What a program for this small kernel may use.  Every part is a separate file; main() belongs to the program. */
#ifndef KERNEL_H
#define KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define __XEN_INTERFACE_VERSION__ 0x00040e00
#include <xen/xen.h>
#include <xen/event_channel.h>

#define PAGE_SIZE 4096ul
#define SECOND 1000000000ull /* the unit of time is the nanosecond */
#define PAGE_ALIGNED __attribute__((aligned(PAGE_SIZE)))

#define barrier() __asm__ volatile("mfence" ::: "memory")

/* The program; the kernel powers off when it returns. */
void main(char *command_line);

/* platform_pv.c or platform_pvh.c: what differs between the two types of domain. */
extern const char platform_name[];
extern shared_info_t *shared_info;
struct ring_page {
    void *page;
    evtchn_port_t port;
};
struct ring_page platform_console(void);
struct ring_page platform_xenstore(void);
uint64_t platform_frame(const void *page);                   /* the frame number that other domains use for it */
const void *platform_page(uint64_t number);                  /* a page of memory by number, until the next call */
void platform_untouched(uint64_t *first, uint64_t *end);     /* the pages that nothing has written to */
bool platform_map_grants(void *pages, unsigned count);       /* put the grant table where these pages are */

/* print.c, console.c */
void console_write(char c);
int console_read(void);                                      /* the next character typed, or -1 */
void console_flush(void);                                    /* until every character was taken by dom0 */
void print(const char *format, ...) __attribute__((format(printf, 1, 2))); /* %s %c %u %lu %x %lx %% */

/* time.c: nanoseconds since the domain was started, seconds since 1970 */
uint64_t now(void);
uint64_t wall_clock(void);

/* events.c */
void event_open(evtchn_port_t port);                         /* from now on wait() ends when this port has an event */
void event_send(evtchn_port_t port);
void wait(uint64_t until);

/* xenstore.c: text in and out; a value that does not fit is cut off */
bool xenstore_read(const char *path, char *value, size_t size);
bool xenstore_write(const char *path, const char *value);

/* power.c */
void power_open(void);
void power_obey(void);                                       /* react to `xl shutdown` or `xl reboot`, if there was one */
_Noreturn void power_off(void);
_Noreturn void power_crash(void);

/* memory.c */
void memory_check(void);                                     /* report whether untouched memory is zero */

/* string.c: the names that gcc calls by itself, and a few more */
void *memcpy(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);
int memcmp(const void *a, const void *b, size_t size);
size_t strlen(const char *text);
bool starts_with(const char *text, const char *prefix);
unsigned long number(const char *text);                      /* the decimal number at its start, or 0 */
const char *option(const char *command_line, const char *name); /* after "name=" or "name"; NULL if the word is missing */

#endif
