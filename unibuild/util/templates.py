"""The templates that unibuild writes files from: a project's own ``dodo_templates`` folder first, then ours."""

from __future__ import annotations

import json
from pathlib import Path

from unibuild.errors import InputError

__all__ = ["FOLDER", "folder", "render"]

FOLDER = "dodo_templates"


def folder() -> Path:
    """Return the folder of our own templates: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    return package / FOLDER if (package / FOLDER).is_dir() else package.parent / FOLDER


def render(name: str, project: Path, /, **values: object) -> str:
    """Return the text that a template makes.

    Args:
        name: the template's file name, ``unibuild.toml.j2``.
        project: the project's folder; a template of this name in its ``dodo_templates`` goes before ours.
        values: what the template may use. A name that is not here is an error. The filter ``toml`` writes a value as
            TOML has it, ``xml`` a text as XML has it, between tags or in either quotes.

    Raises:
        InputError: there is no such template, or it is wrong; the sentence names its file and line.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([project / FOLDER, folder()]),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # what we write is no HTML
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"toml": _toml, "xml": _xml}
    try:
        return environment.get_template(name).render(values)
    except jinja2.TemplateNotFound as error:
        raise InputError(f"there is no template {error.name} in {project / FOLDER} or {folder()}") from None
    except jinja2.TemplateSyntaxError as error:
        raise InputError(f"{error.filename or name}:{error.lineno}: {error.message}") from None
    except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"the template {_source(name, project)} cannot be filled in: {error}") from error


def _source(name: str, project: Path) -> Path:
    own = project / FOLDER / name
    return own if own.is_file() else folder() / name


def _toml(value: object) -> str:
    """Write a string, a number, a boolean or a list of them: JSON and TOML agree there, but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _xml(value: object) -> str:
    """Write a text so that an XML parser reads it back, line ends and tabs in attributes included."""
    special = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&apos;", '"': "&quot;"}
    return "".join(special.get(char, f"&#{ord(char)};" if char in "\t\n\r" else char) for char in str(value))
