"""The settings: one frozen tree, and where its values come from."""
