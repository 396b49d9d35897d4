"""The integration with doit: loader, tasks, goals, reporter, state and build worker."""
