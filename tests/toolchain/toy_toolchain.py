"""The smallest toolchain, in one module and one line of the registry."""

from unibuild.errors import BuildError
from unibuild.toolchain import registry
from unibuild.toolchain.base import Step


class ToyToolchain:
    """The smallest toolchain: it copies a file."""

    name = "toy"
    has_mirage_cmdline = False
    xl = None
    xl_in = None

    def __init__(self, project):
        self.root = project.root
        self.kernel = self.root / "toy.xen"

    def steps(self):
        argv = ("cp", "toy.txt", "toy.xen")
        source = self.root / "toy.txt"
        return (Step("build", "copy it", (argv,), self.root, inputs=(source,), targets=(self.kernel,)),)

    def digest(self, path, step):
        return path.read_bytes().hex()

    def question(self, step):
        return None

    def database(self):
        return None

    def check(self, step):
        if not self.kernel.is_file():
            raise BuildError("no kernel")


REGISTRATION = registry.Registration(lambda project: (project.root / "toy.txt").is_file(), ToyToolchain)
