"""Query the settings' model: the keys of a table, the type of a value, and all settings.

Types are plain objects here (``Annotated``, unions, ``dict``, msgspec's Structs), which come from the annotations of
the model.
"""

from __future__ import annotations

import functools
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from unibuild.settings.model import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Leaf",
    "bare",
    "child",
    "element_of",
    "expected",
    "is_pattern",
    "is_table",
    "key_type",
    "known",
    "leaves",
    "metas",
    "options",
    "required",
    "spellings",
    "table_of",
]


@dataclass(frozen=True)
class Leaf:
    """A key that has a value. A part of ``path`` like ``<KEY>`` means any key."""

    path: tuple[str, ...]
    type: object
    default: object
    doc: str

    @property
    def dotted(self) -> str:
        """The key as on the command line."""
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        """The name of its environment variable."""
        return "_".join(("UNIBUILD", *self.path)).upper()


def options(kind: object) -> tuple[object, ...]:
    """Return the members of a union without None; for any other type return only that type."""
    kind = _plain(kind)
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(inner for option in get_args(kind) if option is not types.NoneType for inner in options(option))
    return (kind,)


def bare(kind: object) -> object:
    """Return a type without ``Annotated`` and without None; a union of several types stays a union."""
    found = options(kind)
    return found[0] if len(found) == 1 else _plain(kind)


def metas(kind: object) -> Iterator[Meta]:
    """Yield the metadata in ``Annotated`` of a type, outermost first; also of the only option apart from None."""
    if get_origin(kind) is Annotated:
        inner, *said = get_args(kind)
        yield from (meta for meta in said if isinstance(meta, Meta))
        yield from metas(inner)
    elif get_origin(kind) in (Union, types.UnionType):
        others = [option for option in get_args(kind) if option is not types.NoneType]
        if len(others) == 1:
            yield from metas(others[0])


def is_table(kind: object) -> bool:
    """Return whether a value of this type is a table: a Struct, or a dict with free keys."""
    kind = bare(kind)
    return get_origin(kind) is dict or (isinstance(kind, type) and issubclass(kind, msgspec.Struct))


def table_of(kind: object) -> object | None:
    """Return the table type of a value that is or can be a table; else None."""
    return next((option for option in options(kind) if is_table(option)), None)


def element_of(kind: object) -> object | None:
    """Return the table type of the elements if this type is a list of tables; else None."""
    for option in options(kind):
        if get_origin(option) in (list, tuple) and is_table(get_args(option)[0]):
            return get_args(option)[0]  # type: ignore[no-any-return]
    return None


def is_pattern(kind: object) -> bool:
    """Return whether a value of this type is a regular expression, or a list of them."""
    inner = [get_args(option)[0] for option in options(kind) if get_origin(option) in (list, tuple)]
    return any((meta.extra or {}).get("form") == "pattern" for some in (kind, *inner) for meta in metas(some))


def key_type(table: object) -> object | None:
    """Return the type of a free table's keys, or None if the keys are fields."""
    table = bare(table)
    return get_args(table)[0] if get_origin(table) is dict else None


def known(table: object) -> tuple[str, ...]:
    """Return the keys of a table, in the model's order; none if any key is accepted."""
    keys = key_type(table)
    if keys is None:
        return tuple(_fields(bare(table)))
    return tuple(word for meta in metas(keys) for word in (meta.extra or {}).get("words", ()))


def required(table: object) -> tuple[str, ...]:
    """Return the keys that must be set if the table exists."""
    if key_type(table) is not None:
        return ()
    return tuple(name for name, field in _fields(bare(table)).items() if field.required)


def child(table: object, key: str) -> object | None:
    """Return the type of a table's key, or None if the table does not have the key."""
    if key_type(table) is None:
        field = _fields(bare(table)).get(key)
        return None if field is None else field.type
    keys, values = get_args(bare(table))
    try:
        msgspec.convert(key, keys)
    except (msgspec.ValidationError, UnicodeError):
        return None
    return values  # type: ignore[no-any-return]


def expected(kind: object) -> str:
    """Describe a value of this type, as the end of the sentence "... must be"."""
    if is_table(kind):
        return "a table"
    found = options(kind)
    if len(found) > 1:
        *first, last = (expected(option) for option in found)
        return f"{', '.join(first)} or {last}"
    if get_origin(found[0]) is Literal:
        return "one of " + ", ".join(f"`{value}`" for value in get_args(found[0]))
    if get_origin(found[0]) in (list, tuple):
        return f"a list of {'tables' if element_of(kind) else 'regular expressions' if is_pattern(kind) else 'strings'}"
    said = list(metas(kind))
    if found[0] is str:
        narrow = (meta.description for meta in said if meta.pattern or meta.min_length)
        return next((text for text in narrow if text), "a string")
    name = {int: "a whole number", float: "a number", bool: "true or false"}[found[0]]  # type: ignore[index]
    low = next((meta.ge for meta in said if meta.ge is not None), None)
    high = next((meta.le for meta in said if meta.le is not None), None)
    return name + (f" from {low}" if low is not None else "") + (f" to {high}" if high is not None else "")


def wrong_element(value: object, kind: object) -> tuple[str, object] | None:
    """Return the first string of a list that lacks the elements' type, with that type; None if there is none."""
    inner = [get_args(option)[0] for option in options(kind) if get_origin(option) in (list, tuple)]
    if len(inner) != 1 or not isinstance(value, list):
        return None
    for one in value:
        try:
            msgspec.convert(one, inner[0])
        except (msgspec.ValidationError, UnicodeError):
            return (one, inner[0]) if isinstance(one, str) else None
    return None


def leaves(table: object = Settings, path: tuple[str, ...] = (), doc: str = "") -> Iterator[Leaf]:
    """Yield every key that has a value, in the model's order; each table's own values before its sub-tables."""
    keys = key_type(table)
    if keys is not None:
        title = next(meta.title for meta in metas(keys) if meta.title)
        inner = get_args(bare(table))[1]
        place = (*path, f"<{title}>")
        if is_table(inner):
            yield from leaves(inner, place, doc)
        else:
            yield Leaf(place, inner, msgspec.NODEFAULT, doc)
        return
    fields = _fields(bare(table))
    for name, field in sorted(fields.items(), key=lambda item: is_table(item[1].type)):
        said = _doc(field.type)
        if is_table(field.type):
            yield from leaves(field.type, (*path, name), said)
        else:
            yield Leaf((*path, name), field.type, field.default, said)


def spellings(table: object, rest: str) -> Iterator[tuple[str, ...]]:
    """Yield the keys below ``table`` that the rest of a variable's name can mean."""
    keys = key_type(table)
    if keys is None:
        for name in known(table):
            kind = child(table, name)
            if rest == name.upper():
                yield (name,)
            elif rest.startswith(f"{name.upper()}_") and is_table(kind):
                yield from ((name, *path) for path in spellings(kind, rest[len(name) + 1 :]))
        return
    words = rest.split("_")
    for end in range(1, len(words)):  # a free key may have "_" itself: the shortest one that leaves a key first
        key = "_".join(words[:end]).lower()
        inner = child(table, key)
        if inner is not None and is_table(inner):
            yield from ((key, *path) for path in spellings(inner, "_".join(words[end:])))
    if rest:
        kept = any((meta.extra or {}).get("case") == "kept" for meta in metas(keys))
        yield (rest if kept else rest.lower(),)


def _doc(kind: object) -> str:
    """Return a field's description: the last one in ``Annotated``, because a type's own description comes before it."""
    said = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    return next((meta.description for meta in reversed(said) if isinstance(meta, Meta) and meta.description), "")


def _plain(kind: object) -> object:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


@functools.cache
def _fields(struct: object) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(struct)}  # type: ignore[arg-type]
