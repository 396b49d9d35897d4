/* A PVH domain: the hardware translates addresses, so frames are simply numbered. */
#include "hypercall.h"

#include <xen/arch-x86/cpuid.h>
#include <xen/arch-x86/hvm/start_info.h>
#include <xen/grant_table.h>
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/params.h>
#include <xen/memory.h>

/* What a boot loader without PVH support passes (GNU multiboot specification 0.6.96, 3.3). */
#define MULTIBOOT_LOADER 0x2badb002
struct multiboot {
    uint32_t flags, memory_lower, memory_upper, boot_device, command_line;
};

const char platform_name[] = "PVH";
shared_info_t *shared_info;

static struct hvm_start_info *info;
static char shared_info_page[PAGE_SIZE] PAGE_ALIGNED;
extern char kernel_end[];

static void cpuid(uint32_t leaf, uint32_t *a, uint32_t *b)
{
    uint32_t c = 0, d;

    __asm__ volatile("cpuid" : "=a"(*a), "=b"(*b), "+c"(c), "=d"(d) : "a"(leaf));
}

/* Xen's leaves start at the first multiple of 0x100 that has its name; the third one names the register. */
static void set_hypercall_page(void)
{
    uint64_t address = (uint64_t)hypercall_page;
    uint32_t leaf = XEN_CPUID_FIRST_LEAF, a, b;

    for (cpuid(leaf, &a, &b); b != XEN_CPUID_SIGNATURE_EBX; cpuid(leaf, &a, &b))
        leaf += 0x100;
    cpuid(leaf + 2, &a, &b);
    __asm__ volatile("wrmsr" ::"c"(b), "a"((uint32_t)address), "d"((uint32_t)(address >> 32)) : "memory");
}

/* Map a page of Xen's in place of one of this kernel's. */
static bool map(void *at, unsigned space, uint64_t index)
{
    struct xen_add_to_physmap map = {
        .domid = DOMID_SELF,
        .space = space,
        .idx = index,
        .gpfn = (uint64_t)at / PAGE_SIZE,
    };
    return hypercall_op(__HYPERVISOR_memory_op, XENMEM_add_to_physmap, &map) == 0;
}

/* A boot loader has used the memory before: without a map of it, no page counts as untouched. */
static struct hvm_start_info *from_multiboot(const struct multiboot *loader)
{
    static struct hvm_start_info start_info;

    start_info.cmdline_paddr = loader->flags & 4 ? loader->command_line : 0;
    return &start_info;
}

_Noreturn void platform_start(void *start, uint32_t magic)
{
    info = magic == MULTIBOOT_LOADER ? from_multiboot(start) : start;
    set_hypercall_page();
    map(shared_info_page, XENMAPSPACE_shared_info, 0);
    shared_info = (shared_info_t *)shared_info_page;
    shared_info->vcpu_info[0].evtchn_upcall_mask = 1; /* a PV domain starts with interrupts masked, this one must ask */
    main(info->cmdline_paddr ? (char *)info->cmdline_paddr : "");
    power_off();
}

static uint64_t parameter(unsigned index)
{
    struct xen_hvm_param param = {.domid = DOMID_SELF, .index = index};

    hypercall_op(__HYPERVISOR_hvm_op, HVMOP_get_param, &param);
    return param.value;
}

struct ring_page platform_console(void)
{
    return (struct ring_page){(void *)(parameter(HVM_PARAM_CONSOLE_PFN) * PAGE_SIZE),
                              parameter(HVM_PARAM_CONSOLE_EVTCHN)};
}

struct ring_page platform_xenstore(void)
{
    return (struct ring_page){(void *)(parameter(HVM_PARAM_STORE_PFN) * PAGE_SIZE),
                              parameter(HVM_PARAM_STORE_EVTCHN)};
}

uint64_t platform_frame(const void *page)
{
    return (uint64_t)page / PAGE_SIZE;
}

const void *platform_page(uint64_t number)
{
    return (const void *)(number * PAGE_SIZE);
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* What Xen's domain builder writes ends with the start info and the tables that it points to. */
void platform_untouched(uint64_t *first, uint64_t *end)
{
    struct hvm_memmap_table_entry *ram = (struct hvm_memmap_table_entry *)info->memmap_paddr;
    uint64_t written = later((uint64_t)kernel_end, (uint64_t)(info + 1));

    written = later(written, info->memmap_paddr + info->memmap_entries * sizeof(*ram));
    if (info->cmdline_paddr)
        written = later(written, info->cmdline_paddr + strlen((char *)info->cmdline_paddr) + 1);
    *first = *end = (written + PAGE_SIZE - 1) / PAGE_SIZE;
    for (unsigned i = 0; i < info->memmap_entries; i++)
        if (ram[i].type == XEN_HVM_MEMMAP_TYPE_RAM && ram[i].addr <= written && ram[i].addr + ram[i].size > written)
            *end = (ram[i].addr + ram[i].size) / PAGE_SIZE;
}

bool platform_map_grants(void *pages, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (!map((char *)pages + i * PAGE_SIZE, XENMAPSPACE_grant_table, i))
            return false;
    return true;
}
