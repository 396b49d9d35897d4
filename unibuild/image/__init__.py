"""Build disk images: file system, boot loaders, kernel and boot menu."""
