"""Render the templates of generated files: those of a project's ``dodo_templates`` folder, else unibuild's own."""

from __future__ import annotations

import json
from pathlib import Path

from unibuild.errors import InputError

__all__ = ["FOLDER", "folder", "render", "toml_value"]

FOLDER = "dodo_templates"


def folder() -> Path:
    """Return the folder of unibuild's own templates: inside the installed package, or next to it in a checkout."""
    package = Path(__file__).parents[1]
    return package / FOLDER if (package / FOLDER).is_dir() else package.parent / FOLDER


def render(name: str, project: Path, /, **values: object) -> str:
    """Return the rendered text of a template.

    Args:
        name: the template's file name, ``unibuild.toml.j2``.
        project: the project's folder; a template of this name in its ``dodo_templates`` is preferred.
        values: the variables of the template; another name in it is an error. The filter ``toml`` writes a value in
            TOML, and ``xml`` a text for XML, between tags or in either quotes.

    Raises:
        InputError: the template does not exist or is wrong; the message names its file and line.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([project / FOLDER, folder()]),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # the output is not HTML
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"toml": toml_value, "xml": _xml}
    try:
        return environment.get_template(name).render(values)
    except jinja2.TemplateNotFound as error:
        raise InputError(f"no template {error.name} in {project / FOLDER} or {folder()}") from None
    except jinja2.TemplateSyntaxError as error:
        raise InputError(f"{error.filename or name}:{error.lineno}: {error.message}") from None
    except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"cannot fill in the template {_source(name, project)}: {error}") from error


def _source(name: str, project: Path) -> Path:
    own = project / FOLDER / name
    return own if own.is_file() else folder() / name


def toml_value(value: object) -> str:
    """Write a string, a number, a boolean or a list of them. For these JSON and TOML differ in one character only."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _xml(value: object) -> str:
    """Write a text so that an XML parser reads it back, including line ends and tabs in attributes."""
    special = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&apos;", '"': "&quot;"}
    return "".join(special.get(char, f"&#{ord(char)};" if char in "\t\n\r" else char) for char in str(value))
