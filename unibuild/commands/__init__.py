"""The commands of `unibuild` that are no goals of the graph: one module each."""
