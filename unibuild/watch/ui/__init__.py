"""Screens of the watch loop: terminal, lines, JSON."""
