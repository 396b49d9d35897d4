"""Read and write xl.cfg files, and edit them in place."""
