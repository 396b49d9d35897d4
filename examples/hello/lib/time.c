/* Time without interrupts: Xen gives the factors to convert the processor's counter to nanoseconds (xen/xen.h). */
#include "kernel.h"

uint64_t now(void)
{
    const volatile struct vcpu_time_info *time = &shared_info->vcpu_info[0].time;
    uint64_t result;
    uint32_t version;

    do {
        while ((version = time->version) & 1)
            ; /* Xen is writing it */
        barrier();
        uint64_t ticks = __builtin_ia32_rdtsc() - time->tsc_timestamp;
        ticks = time->tsc_shift < 0 ? ticks >> -time->tsc_shift : ticks << time->tsc_shift;
        result = time->system_time + (uint64_t)(((unsigned __int128)ticks * time->tsc_to_system_mul) >> 32);
        barrier();
    } while (version != time->version);
    return result;
}

uint64_t wall_clock(void)
{
    return shared_info->wc_sec + now() / SECOND;
}
