"""The settings' model as data: which keys a table has, what a value must be, and all that can be set.

Types are handled as plain objects here (``Annotated``, unions, ``dict``, msgspec's Structs): the model's annotations
are the only place where they are written down.
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
    """A key that takes a value. A part of ``path`` like ``<KEY>`` stands for any key."""

    path: tuple[str, ...]
    type: object
    default: object
    doc: str

    @property
    def dotted(self) -> str:
        """The key as the command line has it."""
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        """The name of its environment variable."""
        return "_".join(("UNIBUILD", *self.path)).upper()


def options(kind: object) -> tuple[object, ...]:
    """Return what a union is made of, without None; any other type is the only one of its options."""
    kind = _plain(kind)
    if get_origin(kind) in (Union, types.UnionType):
        return tuple(inner for option in get_args(kind) if option is not types.NoneType for inner in options(option))
    return (kind,)


def bare(kind: object) -> object:
    """Return a type without what ``Annotated`` says, and without None; a union of several stays one."""
    found = options(kind)
    return found[0] if len(found) == 1 else _plain(kind)


def metas(kind: object) -> Iterator[Meta]:
    """Give what ``Annotated`` says of a type, outermost first; also of the only option beside None."""
    if get_origin(kind) is Annotated:
        inner, *said = get_args(kind)
        yield from (meta for meta in said if isinstance(meta, Meta))
        yield from metas(inner)
    elif get_origin(kind) in (Union, types.UnionType):
        others = [option for option in get_args(kind) if option is not types.NoneType]
        if len(others) == 1:
            yield from metas(others[0])


def is_table(kind: object) -> bool:
    """Tell whether a value of this type is a table: a Struct of ours, or a dict with free keys."""
    kind = bare(kind)
    return get_origin(kind) is dict or (isinstance(kind, type) and issubclass(kind, msgspec.Struct))


def table_of(kind: object) -> object | None:
    """Return the table that a value of this type is, or can be where other values are welcome too; else None."""
    return next((option for option in options(kind) if is_table(option)), None)


def element_of(kind: object) -> object | None:
    """Return the table that each element of a list is, where this type is a list of tables; else None."""
    for option in options(kind):
        if get_origin(option) in (list, tuple) and is_table(get_args(option)[0]):
            return get_args(option)[0]  # type: ignore[no-any-return]
    return None


def is_pattern(kind: object) -> bool:
    """Tell whether a value of this type is a regular expression, or a list of them."""
    inner = [get_args(option)[0] for option in options(kind) if get_origin(option) in (list, tuple)]
    return any((meta.extra or {}).get("form") == "pattern" for some in (kind, *inner) for meta in metas(some))


def key_type(table: object) -> object | None:
    """Return the type of a free table's keys, or None where the keys are fields."""
    table = bare(table)
    return get_args(table)[0] if get_origin(table) is dict else None


def known(table: object) -> tuple[str, ...]:
    """Return the keys that a table has, in the model's order; none where any key will do."""
    keys = key_type(table)
    if keys is None:
        return tuple(_fields(bare(table)))
    return tuple(word for meta in metas(keys) for word in (meta.extra or {}).get("words", ()))


def required(table: object) -> tuple[str, ...]:
    """Return the keys that must be set where the table is there."""
    if key_type(table) is not None:
        return ()
    return tuple(name for name, field in _fields(bare(table)).items() if field.required)


def child(table: object, key: str) -> object | None:
    """Return the type of a table's key, or None where the table has no such key."""
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
    """Say what a value of this type is: the end of the sentence "... must be"."""
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
    """Return the first string of a list that its elements' type refuses, with that type; None where there is none."""
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
    """Give every key that takes a value, in the model's order; each table's own values before its sub-tables."""
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
    """Give the keys below ``table`` that a variable's name, without what led here, can mean."""
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
    """Return what a field says of itself: the last of the ``Annotated``, for a type's own description stands before."""
    said = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    return next((meta.description for meta in reversed(said) if isinstance(meta, Meta) and meta.description), "")


def _plain(kind: object) -> object:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


@functools.cache
def _fields(struct: object) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(struct)}  # type: ignore[arg-type]
