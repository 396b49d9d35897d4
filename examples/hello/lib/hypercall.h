/* Calls into Xen, through the page that Xen fills (xen/arch-x86/xen-x86_64.h has the registers). */
#ifndef HYPERCALL_H
#define HYPERCALL_H

#include "kernel.h"

extern char hypercall_page[PAGE_SIZE];

static inline long hypercall(unsigned number, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
{
    long result;
    register unsigned long fourth __asm__("r10") = d;

    __asm__ volatile("call *%[entry]"
                     : "=a"(result), "+D"(a), "+S"(b), "+d"(c), "+r"(fourth)
                     : [entry] "r"(hypercall_page + number * 32)
                     : "memory", "rcx", "r8", "r9", "r11");
    return result;
}

/* Most calls are a command and its argument. */
static inline long hypercall_op(unsigned number, unsigned command, void *argument)
{
    return hypercall(number, command, (unsigned long)argument, 0, 0);
}

#endif
