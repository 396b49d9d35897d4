"""unibuild: doit tasks, a Make companion and a lab for MirageOS unikernels on Xen."""

# This module imports nothing, because every start of the command line loads it.

__version__ = "0.1.0"
__all__ = ["DOIT_CONFIG", "__version__", "unikernel"]


def __getattr__(name: str) -> object:
    """Return a name that a ``dodo.py`` imports; doit is imported only then (PEP 562)."""
    if name in ("DOIT_CONFIG", "unikernel"):
        from unibuild.util import interrupts

        interrupts.install()
    if name == "DOIT_CONFIG":
        from pathlib import Path

        from unibuild.doit_plugin.loader import doit_config

        return doit_config(Path.cwd())
    if name == "unikernel":
        from unibuild.doit_plugin.loader import unikernel

        return unikernel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
