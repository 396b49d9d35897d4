"""Where xl runs: this machine, or another one over SSH."""
