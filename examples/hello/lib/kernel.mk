# Builds $(NAME)-pv.xen and $(NAME)-pvh.xen from the C files of the project's folder and of lib/.
XEN_INCLUDE ?= /usr/include
CFLAGS ?= -O2 -g

ifeq ($(shell command -v $(CC)),)
$(error the C compiler $(CC) is not installed; on Debian or Ubuntu: apt install gcc)
endif
ifeq ($(wildcard $(XEN_INCLUDE)/xen/xen.h),)
$(error Xen's public headers are not in $(XEN_INCLUDE)/xen; on Debian or Ubuntu: apt install libxen-dev)
endif

# Freestanding, for an address that is fixed, without registers or stack space that this kernel does not set up.
FLAGS := -std=gnu11 -Wall -Wextra -Werror=implicit -m64 -ffreestanding -fno-builtin -fno-tree-loop-distribute-patterns \
  '-ffile-prefix-map=$(CURDIR)=.' -fno-pic -fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none -mno-red-zone -mgeneral-regs-only \
  -Ilib -isystem $(XEN_INCLUDE) -MMD -MP
LINK := -nostdlib -static -no-pie -Wl,--build-id=none,-z,noexecstack,--no-warn-rwx-segments,-T,lib/kernel.ld

SHARED := $(filter-out lib/platform_%,$(wildcard lib/*.c)) $(wildcard *.c)
PV := lib/boot_pv.S lib/platform_pv.c $(SHARED)
PVH := lib/boot_pvh.S lib/platform_pvh.c $(SHARED)
PV_BASE := 0x0
PVH_BASE := 0x100000
objects = $(patsubst %,build/%.o,$(notdir $(1)))

all: $(NAME)-pv.xen $(NAME)-pvh.xen

$(NAME)-pv.xen: $(call objects,$(PV)) lib/kernel.ld
	@echo "link $@"
	@$(CC) $(LINK),--defsym,BASE=$(PV_BASE) -o $@ $(filter %.o,$^)

$(NAME)-pvh.xen: $(call objects,$(PVH)) lib/kernel.ld
	@echo "link $@"
	@$(CC) $(LINK),--defsym,BASE=$(PVH_BASE) -o $@ $(filter %.o,$^)

build/%.o: % Makefile lib/kernel.mk | build
	@echo "compile $<"
	@$(CC) $(FLAGS) $(CFLAGS) -c -o $@ $<

build:
	@mkdir -p $@

clean:
	rm -rf build $(NAME)-pv.xen $(NAME)-pvh.xen

.PHONY: all clean
.DELETE_ON_ERROR:
vpath %.c lib
vpath %.S lib
-include $(wildcard build/*.d)
