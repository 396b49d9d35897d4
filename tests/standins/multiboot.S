/* A multiboot kernel for QEMU without Xen: says its command line on the serial port, and "masked" where both interrupt
 * controllers are; ends QEMU. */
    .text
    .code32
    .globl start
header:
    .long 0x1badb002, 0x10000, -(0x1badb002 + 0x10000)
    .long header, 0x100000, 0, 0, start
start:
    mov 16(%ebx), %esi
    mov $0x3f8, %dx
    call say
    in $0x21, %al
    mov %al, %ah
    in $0xa1, %al
    and %ah, %al
    inc %al
    jnz end
    mov $masked, %esi
    call say
end:
    mov $0xf4, %dx
    out %al, %dx
    hlt
say:
    lodsb
    test %al, %al
    jz 1f
    out %al, %dx
    jmp say
1:  mov $'\n', %al
    out %al, %dx
    ret
masked:
    .asciz "masked"
