/* Sleeps for a millisecond at a time with numbers in the SSE registers, and reports when one has changed.
 *
 * Each turn switches to dom0 and back, so Xen saves and restores the floating point state of both.
 */
#include "kernel.h"

#define CR4_OSFXSR 0x200
#define CR0_MP 2
#define CR0_EM 4

static void enable_sse(void)
{
    unsigned long value;

    __asm__ volatile("mov %%cr0, %0" : "=r"(value));
    __asm__ volatile("mov %0, %%cr0" ::"r"((value & ~(unsigned long)CR0_EM) | CR0_MP));
    __asm__ volatile("mov %%cr4, %0" : "=r"(value));
    __asm__ volatile("mov %0, %%cr4\n fninit" ::"r"(value | CR4_OSFXSR));
}

/* gcc uses no SSE here (-mgeneral-regs-only), so what these put into the registers stays there. */
static void load(const unsigned long *values)
{
    __asm__ volatile("movq (%0), %%xmm0\n movq 8(%0), %%xmm7\n movq 16(%0), %%xmm15" ::"r"(values));
}

static void store(unsigned long *values)
{
    __asm__ volatile("movq %%xmm0, (%0)\n movq %%xmm7, 8(%0)\n movq %%xmm15, 16(%0)" ::"r"(values) : "memory");
}

void main(char *command_line)
{
    (void)command_line;
    enable_sse();
    power_open();
    print("started\n");
    for (unsigned long turn = 1;; turn++) {
        unsigned long before[3] = {turn, ~turn, turn << 32}, after[3];

        load(before);
        wait(now() + SECOND / 1000);
        store(after);
        if (memcmp(before, after, sizeof(before)) != 0)
            print("turn %lu: a register has changed\n", turn);
        if (turn % 100 == 0)
            print("turn %lu\n", turn);
        power_obey();
    }
}
