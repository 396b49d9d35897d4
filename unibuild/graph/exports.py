"""The stages that write what is in the ``.xl`` in another form, each for a goal of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unibuild.util import files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from unibuild.graph.graph import Graph

__all__ = ["WRITERS"]


def _libvirt(graph: Graph, path: Path) -> None:
    from unibuild.graph.libvirt import describe, render

    description = describe(graph.render(ends=()), str(graph.xl))
    files.write_atomic(path, render(description, graph.project.root).encode())
    print(f"  {_name(graph, path)} is there: virsh -c xen:///system define {path}")
    if description.left_out:
        print(f"  without what libvirt has no word for: {', '.join(description.left_out)}")


def _image(graph: Graph, path: Path) -> None:
    from unibuild.graph import disk_image

    made = disk_image.plan(graph)
    disk_image.write(made, path)
    print(f"  {_name(graph, path)} is there: {made.size >> 10} KiB, {made.kind.upper()}, sha256 {made.digest}")
    for warning in disk_image.warnings(graph, made):
        print(f"  {warning}")


def _name(graph: Graph, path: Path) -> Path:
    return path.relative_to(graph.project.root) if path.is_relative_to(graph.project.root) else path


WRITERS: Mapping[str, Callable[[Graph, Path], None]] = {"libvirt": _libvirt, "image": _image}
"""What writes the target of a goal's stage; ``graph`` is up to date but for that."""
