/* PVH: Xen starts the kernel in 32 bit mode without paging; %ebx is the start info (xen/arch-x86/hvm/start_info.h).
 * GRUB, which reads us from a disk, does so too, but %eax and %ebx are those of a multiboot kernel.
 * Go to 64 bit mode with the first 4 GB mapped one to one, in pages of 2 MB. */
#define __ASSEMBLY__
#include <xen/elfnote.h>

#define CR0_PAGING     31
#define CR4_PAE        0x20
#define MSR_EFER       0xc0000080
#define EFER_LONG_MODE 8
#define PRESENT_WRITE  0x03
#define LARGE_PAGE     0x83
#define MULTIBOOT      0x1badb002
#define HAS_ADDRESSES  0x10000

    .section .note.Xen, "a", @note
    .balign 4
    .long 4, 4, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long start

    .text
    .balign 4
multiboot:                          /* GNU multiboot specification 0.6.96, 3.1; a 64 bit ELF needs the addresses */
    .long MULTIBOOT, HAS_ADDRESSES, -(MULTIBOOT + HAS_ADDRESSES)
    .long multiboot, BASE, data_end, kernel_end, start

    .code32
    .globl start
start:
    cld
    mov $stack_end, %esp
    mov %ebx, %esi
    mov %eax, %ebp

    mov $directories, %edi          /* 4 page directories: 2048 large pages */
    mov $LARGE_PAGE, %eax
    mov $2048, %ecx
1:  mov %eax, (%edi)
    add $0x200000, %eax
    add $8, %edi
    loop 1b

    mov $pointers, %edi             /* the table of the 4 directories */
    mov $directories + PRESENT_WRITE, %eax
    mov $4, %ecx
2:  mov %eax, (%edi)
    add $4096, %eax
    add $8, %edi
    loop 2b

    movl $pointers + PRESENT_WRITE, root

    mov $CR4_PAE, %eax
    mov %eax, %cr4
    mov $root, %eax
    mov %eax, %cr3
    mov $MSR_EFER, %ecx
    rdmsr
    bts $EFER_LONG_MODE, %eax
    wrmsr
    mov %cr0, %eax
    bts $CR0_PAGING, %eax
    mov %eax, %cr0
    lgdt descriptor
    ljmp $8, $start64

    .code64
start64:
    mov $16, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov %esi, %edi
    mov %ebp, %esi
    xor %ebp, %ebp
    call platform_start

    .balign 8
segments:
    .quad 0
    .quad 0x00af9a000000ffff        /* code, 64 bit */
    .quad 0x00cf92000000ffff        /* data */
descriptor:
    .word . - segments - 1
    .quad segments

    .balign 4096
    .globl hypercall_page
hypercall_page:
    .skip 4096

    .bss
    .balign 4096
root:
    .skip 4096
pointers:
    .skip 4096
directories:
    .skip 16384
    .skip 32768
stack_end:

    .section .note.GNU-stack, "", @progbits
