"""unibuild: doit tasks, a Make companion and a lab for MirageOS unikernels on Xen."""

# Kept free of imports: every start of the command line pays for what stands here.

__version__ = "0.1.0"
