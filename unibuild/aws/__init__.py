"""EC2: the virtual disk image of a kernel, its snapshot, its AMI."""
