"""What the watch loop shows: terminal, lines, JSON."""
