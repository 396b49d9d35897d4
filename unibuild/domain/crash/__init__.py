"""Find out why a domain crashed or hangs, from its console, registers and stack, and write a report."""
