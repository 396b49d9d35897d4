"""The task graph: what each stage needs, makes and does."""
