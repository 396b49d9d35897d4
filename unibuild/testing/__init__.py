"""Run boot tests: runner, expectations, scratch domains and results."""
