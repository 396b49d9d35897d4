"""Everything that imports doit: loader, tasks, goals, reporter, state, build worker."""
