"""Turn a disk image into an EBS snapshot, and compare snapshots."""
