"""Output of xl and xenctx, recorded in the lab unless noted otherwise. ``{0}`` is the domain's number."""

NO_XEN = (
    "xencall: error: Could not obtain handle on privileged command interface: Permission denied\n"
    "libxl: error: libxl.c:102:libxl_ctx_alloc: cannot open libxc handle: Permission denied\ncannot init xl context"
)
NOT_DESTROYED = (
    "libxl: error: libxl_domain.c:1183:libxl__destroy_domid: Domain {0}:Non-existant domain\n"
    "libxl: error: libxl_domain.c:1137:domain_destroy_callback: Domain {0}:Unable to destroy guest\n"
    "libxl: error: libxl_domain.c:1064:domain_destroy_cb: Domain {0}:Destruction of domain failed"
)
NO_LOADER = (
    "xc: error: panic: xg_dom_core.c:689: xc_dom_find_loader: no loader found: Invalid kernel\n"
    "libxl: error: libxl_dom.c:571:libxl__build_dom: xc_dom_parse_image failed\n"
    "libxl: error: libxl_create.c:1640:domcreate_rebuild_done: Domain {0}:cannot (re-)build domain: -3\n"
) + NOT_DESTROYED
NO_MEMORY = (
    "xc: error: panic: xg_dom_boot.c:119: xc_dom_boot_mem_init: can't allocate low memory for domain: Out of memory\n"
    "libxl: error: libxl_dom.c:586:libxl__build_dom: xc_dom_boot_mem_init failed: Cannot allocate memory\n"
    "libxl: error: libxl_create.c:1640:domcreate_rebuild_done: Domain {0}:cannot (re-)build domain: -3\n"
) + NOT_DESTROYED
NO_BALLOON = "libxl: error: libxl_mem.c:590:libxl_wait_for_free_memory: ...\nfailed to free memory for the domain"
NO_BRIDGE = (
    "libxl: error: libxl_exec.c:117:libxl_report_child_exitstatus: /etc/xen/scripts/vif-bridge online [91] exited "
    "with error status 1\nlibxl: error: libxl_device.c:1265:device_hotplug_child_death_cb: script: "
    "Could not find bridge device {0}"
)
NO_SHADOW = "libxl: error: libxl_create.c:1219:initiate_domain_create: shadow_memkb value 72057594037927932kB too large"
NAME_TAKEN = 'libxl: error: libxl_domain.c:81:libxl__domain_rename: Domain {0}:Domain with name "{1}" already exists.'
NOT_MADE = (
    "libxl: error: libxl_create.c:1296:initiate_domain_create: Domain {0}:cannot make domain: -6\n" + NOT_DESTROYED
)
NO_LOGFILE = (  # the domain exists nevertheless
    "xl: fatal error: xl_utils.c:277: {}: logfile = open(fullname, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)\n"
    "libxl: error: libxl_exec.c:117:libxl_report_child_exitstatus: domain monitoring daemonizing child [196] exited "
    "with error status 1"
)
NO_TYPE = "libxl: error: libxl_dom.c:37:libxl__domain_type: unable to get domain type for domid={0}"
NOT_PAUSED = "libxl: error: libxl_domain.c:688:domain_unpause_done: Domain {0}:Unpausing domain: Invalid argument"
NO_ANSWER = "libxl: error: libxl_domain.c:854:pvcontrol_cb: guest didn't acknowledge control request: -9"
INFO = """\
host                   : box
release                : 6.1.0-56-amd64
version                : #1 SMP PREEMPT_DYNAMIC Debian 6.1.192-2 (2026-11-16)
machine                : x86_64
nr_cpus                : 1
virt_caps              : pv hvm hap gnttab-v1 gnttab-v2
total_memory           : 1024
free_memory            : 0
free_cpus              : 0
xen_major              : 4
xen_minor              : 17
xen_extra              : .7
xen_version            : 4.17.7
xen_caps               : xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 
xen_scheduler          : credit2
xen_pagesize           : 4096
xen_commandline        : dom0_mem=256M,max:256M x
"""  # noqa: W291
DMESG = """\
(XEN) Xen version 4.17.7 (Debian 4.17.7+13-g2445b30a44-0+deb12u1) debug=n Wed Nov  4 16:52:28 UTC 2026
(XEN) Command line: dom0_mem=256M,max:256M
(XEN) Freed 656kB init memory
"""
REGISTERS = """\
rip: 00000000000013aa
flags: 00000246 i z p
rsp: 000000000000bf30
rax: 0000000000000000	rcx: 00000000000013aa	rdx: 0000000000000000
rbx: 0000000000000000	rsi: 000000000000bf50	rdi: 0000000000000003
rbp: 0000000000000001	 r8: 00000357b1229505	 r9: 000000006b040b38
r10: 0000000000000000	r11: 0000000000000246	r12: 0000000000000000
r13: 0000000000000000	r14: 0000000000000000	r15: 00000357f38f5e68
 cs: e033	 ss: e02b	 ds: 0000	 es: 0000
 fs: 0000 @ 0000000000000000
 gs: 0000 @ 0000000000000000/0000000000000000
Code (instr addr 000013aa)
cc cc cc cc cc cc cc cc cc cc cc 51 41 53 b8 1d 00 00 00 0f 05 <41> 5b 59 c3 cc cc cc cc cc cc cc 


"""  # noqa: W291
