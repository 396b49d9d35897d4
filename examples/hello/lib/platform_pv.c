/* A PV domain: Xen owns the page tables, and every frame also has a machine frame number. */
#include "hypercall.h"

#include <xen/grant_table.h>

#define PRESENT_WRITE_USER 7ul

const char platform_name[] = "PV";
shared_info_t *shared_info;

static start_info_t *info;
static char shared_info_page[PAGE_SIZE] PAGE_ALIGNED;
static char window[PAGE_SIZE] PAGE_ALIGNED;

static bool map(void *at, uint64_t machine_frame)
{
    unsigned long entry = machine_frame * PAGE_SIZE | PRESENT_WRITE_USER;

    return hypercall(__HYPERVISOR_update_va_mapping, (unsigned long)at, entry, UVMF_INVLPG, 0) == 0;
}

_Noreturn void platform_start(start_info_t *start_info)
{
    info = start_info;
    map(shared_info_page, info->shared_info / PAGE_SIZE);
    shared_info = (shared_info_t *)shared_info_page;
    main((char *)info->cmd_line);
    power_off();
}

static void *machine_page(uint64_t machine_frame)
{
    const uint64_t *machine_to_local = (const uint64_t *)MACH2PHYS_VIRT_START;

    return (void *)(machine_to_local[machine_frame] * PAGE_SIZE); /* VIRT_BASE is 0: addresses are local frame numbers */
}

struct ring_page platform_console(void)
{
    return (struct ring_page){machine_page(info->console.domU.mfn), info->console.domU.evtchn};
}

struct ring_page platform_xenstore(void)
{
    return (struct ring_page){machine_page(info->store_mfn), info->store_evtchn};
}

uint64_t platform_frame(const void *page)
{
    return ((const uint64_t *)info->mfn_list)[(uint64_t)page / PAGE_SIZE];
}

/* Only the first few MB are mapped: look at the rest through a window. */
const void *platform_page(uint64_t number)
{
    return map(window, ((const uint64_t *)info->mfn_list)[number]) ? window : NULL;
}

/* What Xen's domain builder writes ends with the page tables and one page of stack (xen/xen.h, "start of day"). */
void platform_untouched(uint64_t *first, uint64_t *end)
{
    *first = info->pt_base / PAGE_SIZE + info->nr_pt_frames + 1;
    *end = info->nr_pages;
}

bool platform_map_grants(void *pages, unsigned count)
{
    xen_pfn_t frames[count];
    struct gnttab_setup_table setup = {.dom = DOMID_SELF, .nr_frames = count};

    set_xen_guest_handle(setup.frame_list, frames);
    if (hypercall(__HYPERVISOR_grant_table_op, GNTTABOP_setup_table, (unsigned long)&setup, 1, 0) || setup.status)
        return false;
    for (unsigned i = 0; i < count; i++)
        if (!map((char *)pages + i * PAGE_SIZE, frames[i]))
            return false;
    return true;
}
