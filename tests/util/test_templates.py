"""The choice of templates, and the errors for wrong ones."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibuild.errors import InputError
from unibuild.util.templates import folder, render


@pytest.fixture
def own(tmp_path):
    """Return a function that renders a template of the project with this text."""

    def fill(text, **values):
        (tmp_path / "dodo_templates").mkdir(exist_ok=True)
        (tmp_path / "dodo_templates" / "own.j2").write_text(text)
        return render("own.j2", tmp_path, **values)

    return fill


@pytest.mark.parametrize(
    "name", ["unibuild.mk", "GNUmakefile.j2", "Makefile.user.j2", "dodo.py.j2", "unibuild.toml.j2"]
)
def test_each_template_is_found(name):
    assert (folder() / name).is_file()


def test_last_line_end_is_kept(own):
    assert own("{% if x %}\na\n{% endif %}\n", x=True) == "a\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a\n{% if %}", r"own\.j2:2: Expected an expression"),
        ("{{ missing }}", r"cannot fill in the template .*own\.j2: 'missing' is undefined"),
        ("{{ 1 / 0 }}", r"cannot fill in the template .*own\.j2: division by zero"),
        ("{{ x | toml }}", r"cannot fill in the template .*own\.j2: Object of type set"),
        ("{% include 'other.j2' %}", r"no template other\.j2 in "),
    ],
)
def test_wrong_template_is_an_error(own, text, sentence):
    with pytest.raises(InputError, match=sentence):
        own(text, x=set())


@given(value=st.one_of(st.text(), st.integers(-(2**60), 2**60), st.booleans(), st.lists(st.text())))
def test_toml_reads_what_the_filter_writes(tmp_path_factory, value):
    project = tmp_path_factory.getbasetemp()
    (project / "dodo_templates").mkdir(exist_ok=True)
    (project / "dodo_templates" / "toml.j2").write_text("v = {{ v | toml }}")
    assert tomllib.loads(render("toml.j2", project, v=value)) == {"v": value}
