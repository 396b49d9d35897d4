"""Snapshots, AMIs and instances in EC2, without knowledge of projects and Xen hosts."""
