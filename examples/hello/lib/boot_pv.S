/* PV: Xen starts the kernel in 64 bit mode on page tables that it made; %rsi is the start_info page (xen/xen.h). */
#define __ASSEMBLY__
#include <xen/elfnote.h>

#define NOTE(type, value...)            \
    .pushsection .note.Xen, "a", @note; \
    .balign 4;                          \
    .long 4, 2f - 1f, type;             \
    .asciz "Xen";                       \
1:  value;                              \
2:  .balign 4;                          \
    .popsection

    NOTE(XEN_ELFNOTE_XEN_VERSION,    .asciz "xen-3.0")
    NOTE(XEN_ELFNOTE_GUEST_OS,       .asciz "hello")
    NOTE(XEN_ELFNOTE_GUEST_VERSION,  .asciz "1")
    NOTE(XEN_ELFNOTE_LOADER,         .asciz "generic")
    NOTE(XEN_ELFNOTE_VIRT_BASE,      .quad 0)
    NOTE(XEN_ELFNOTE_PADDR_OFFSET,   .quad 0)
    NOTE(XEN_ELFNOTE_ENTRY,          .quad start)
    NOTE(XEN_ELFNOTE_HYPERCALL_PAGE, .quad hypercall_page)
    NOTE(XEN_ELFNOTE_PAE_MODE,       .asciz "yes")
    NOTE(XEN_ELFNOTE_FEATURES,       .asciz "!writable_page_tables|pae_pgdir_above_4gb")

    .text
    .globl start
start:
    cld
    lea stack_end(%rip), %rsp
    xor %ebp, %ebp
    mov %rsi, %rdi
    call platform_start

    .balign 4096
    .globl hypercall_page
hypercall_page:
    .skip 4096

    .bss
    .balign 16
    .skip 32768
stack_end:

    .section .note.GNU-stack, "", @progbits
