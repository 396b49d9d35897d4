"""What a project does with its domain on a host: boot, replace, follow, status, history."""
