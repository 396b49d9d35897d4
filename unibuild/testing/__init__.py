"""Boot tests: runner, expectations, scratch domains, results."""
