"""The watch loop: a save, and what was built from it has been booted."""
