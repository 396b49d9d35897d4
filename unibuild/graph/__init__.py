"""The stages of a project as plain values, and how one runs."""
