/* Xen clears memory before it gives it to a domain.  A host that does not (bootscrub=0) breaks kernels that rely on it. */
#include "kernel.h"

static bool is_zero(const uint64_t *page)
{
    uint64_t all = 0;

    for (size_t i = 0; i < PAGE_SIZE / sizeof(*page); i++)
        all |= page[i];
    return all == 0;
}

void memory_check(void)
{
    uint64_t first, end, dirty = 0;

    platform_untouched(&first, &end);
    for (uint64_t number = first; number < end; number++) {
        const void *page = platform_page(number);
        dirty += !page || !is_zero(page);
    }
    if (dirty)
        print("memory: %lu of %lu untouched pages are NOT zero\n", dirty, end - first);
    else
        print("memory: %lu untouched pages, all zero\n", end - first);
}
