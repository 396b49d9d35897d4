"""Which files of a unikernel's tree are the person's, which ``mirage`` wrote, and which of them a step reads."""

from __future__ import annotations

import os
import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild.toolchain import listing, sources
from unibuild.toolchain.base import OURS
from unibuild.toolchain.mirage import config_ml, unikernel
from unibuild.toolchain.mirage.releases import Names

if TYPE_CHECKING:
    from unibuild.toolchain.mirage.releases import Release

__all__ = ["Tree"]


class Tree:
    """The tree of one unikernel.

    Args:
        root: the project's folder, absolute.
        config: the configuration file, absolute.
        text: what stands in it.
        release: what the installed ``mirage`` does.
        names: what the files are named after.
    """

    def __init__(self, root: Path, config: Path, text: str, release: Release, names: Names) -> None:
        self.root = root
        self.config = config
        self.text = text
        self.release = release
        self.names = names

    def path(self, template: str) -> Path:
        """Return the path that one of the release's templates is for this unikernel."""
        return self.root / self.release.path(template, self.names)

    def paths(self, *templates: str) -> tuple[Path, ...]:
        """Return the paths for templates."""
        return tuple(map(self.path, templates))

    def generated(self) -> tuple[Path, ...]:
        """Return what configure writes."""
        empty = (path for path in self.paths(*self.release.made_empty) if not path.is_file() or not path.stat().st_size)
        return (*self.paths(*self.release.generated), *empty)

    def taken_over(self) -> set[Path]:
        """Return the files that are the person's own, though of a name that configure writes."""
        candidates = {path for path in self.paths(*self.release.yielded) if path.is_file()} - {*self.left_over}
        return {path for path in candidates if self.release.mark not in path.read_text(errors="replace")}

    @cached_property
    def left_over(self) -> tuple[Path, ...]:
        """Return what another series of mirage generated that is in the way."""
        registered = config_ml.name(self.text) or self.names.name
        return unikernel.left_over(self.release, self.root, self.names, registered)

    def other_opam_files(self) -> tuple[Path, ...]:
        """Return the opam files of the person's own that `make depend` installs the dependencies of."""
        other_names = Names(self.names.sub, "*")  # of the unikernel, earlier
        own = [self.release.path(template, other_names) for template in self.release.opam_files]
        found = [
            path
            for template in self.release.depend_reads
            for path in self.root.glob(self.release.path(template, self.names))
        ]
        return tuple(sorted(path for path in found if not any(path.match(pattern) for pattern in own)))

    def config_modules(self) -> tuple[Path, ...]:
        """Return the configuration file and what it takes in: ``#use``, or a ``dune.config`` of the person's own."""
        folder = self.config.parent
        found = {self.config, *(folder / name for name in config_ml.used(self.text))}
        dune = folder / "dune.config"
        if dune in self.taken_over():
            modules = re.findall(r"\(modules\s+([^()]*)\)", dune.read_text(errors="replace"))
            found |= {dune, *(folder / f"{module.lower()}.ml" for module in " ".join(modules).split())}
        return tuple(sorted(path for path in found if path.is_file()))

    def variables(self) -> set[str]:
        """Return the names of environment variables that the configuration may read."""
        texts = (path.read_text(errors="replace") for path in self.config_modules())
        return set().union(*map(config_ml.variables, texts))

    def data(self) -> sources.Found:
        """Return what is in the data folders."""
        folders = self.data_folders()
        return listing.find(self.root, folders) if folders else sources.Found((), ())

    def data_folders(self) -> tuple[str, ...]:
        """Return a pattern for each folder that a string of config.ml names."""
        folders = set()
        for word in config_ml.strings(self.text):
            path = Path(os.path.normpath(self.config.parent / word)) if word and "\0" not in word else self.root
            if path != self.root and path.is_relative_to(self.root) and path.is_dir():
                folders.add(re.sub(r"([*?\[\\!# ])", r"\\\1", f"/{path.relative_to(self.root)}/"))
        return tuple(sorted(folders))

    def no_sources(self) -> tuple[str, ...]:
        """Return patterns of what the tools write."""
        generated = [path for path in self.generated() if path not in self.taken_over()]
        for template in self.release.crunched:
            found = self.root.glob(self.release.path(template, self.names))
            generated += [path for path in found if path.is_file() and b"ocaml-crunch" in path.read_bytes()[:200]]
        written = (f"/{path.relative_to(self.root)}" for path in generated)
        return (*OURS, *written, *(self.release.path(pattern, self.names) for pattern in self.release.no_sources))
