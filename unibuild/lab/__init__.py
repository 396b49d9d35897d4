"""A real Xen host in QEMU, built from the packages of the distribution, without root."""
