"""The toolchain of MirageOS 1 to 4."""
