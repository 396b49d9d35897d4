"""The xl.cfg language: reading, writing and patching in place."""
