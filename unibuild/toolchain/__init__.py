"""What builds the kernel."""
