"""Parts that know nothing of Xen, MirageOS or EC2."""
