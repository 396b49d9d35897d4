"""Disk images: file system, boot loaders, kernel and menu."""
