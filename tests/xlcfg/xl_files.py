"""Hypothesis strategies: files in the xl.cfg language, well-formed and broken."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

__all__ = ["DISKS", "VDEVS", "broken", "disk_lists", "files", "texts", "vif_lists"]

ESCAPES = {"\\": r"\\", "\n": r"\n", "\t": r"\t", "\r": r"\r", "\a": r"\a", "\v": r"\v", "'": r"\'", '"': r"\""}
COMMENTS = ["# a = [ 'x', ]; ", "#", "# it's", "#\r\t\\"]
GAPS = ["", " ", "\t", "\n", "  \n ", *(f" {comment}\n" for comment in COMMENTS)]
ENDS = ["\n", ";", " ; ", ";\n", "\n\n", "  \n\t", *(f"  {comment}\n" for comment in COMMENTS)]
FRAGMENTS = [
    *("a", "b", "c.d", "A", "=", "+=", " = ", "[", "]", ",", ";", "\n", "\n", " ", "\t", "\r", "\r\n", "#", "-", "@"),
    *("# c\n", "'x'", '"y"', "'", '"', "\\", "'\\n'", "'\\q'", "'\\x41'", "'\\101'", "'\\1'", "'\\0 1'", "'\\7-1'"),
    *(
        "1",
        "0x1f",
        "12z",
        "é",
        "\udc80",
        "a = 1\n",
        "b = [ 1, '2' ]\n",
        "b += [ 'z', ]\n",
        "a += 'q';",
        "b = [\n1,\n]\n",
    ),
]
VDEVS = ["xvda", "xvdb", "hdc", "sda1"]
DISKS = [
    "format=raw, vdev={}, access=rw, target=/r/disk.img",
    "vdev={},access=r,target=/with,comma,",
    "vdev={},discard,format=qcow2,script=block-s,target=",
    "/dev/loop0,,{}",
    "file:/x,{},w",
    "phy:/dev/vg/x,{},r",
    "tap:qcow2:/x,{}",
    "/x, raw, {}, ro",
    ",{}:cdrom,r",
    "/x.iso,raw,{},devtype=cdrom",
    "/x,vdev={},format=vhd,backend=dom,backendtype=qdisk",
]

characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0") | st.sampled_from("'\"\\\n\udc80\udcff")
texts = st.text(characters)
vifs = st.sampled_from(
    ["bridge=br0", "mac=c0:ff:ee:c0:ff:ee,bridge=br0", "bridge=a, script=x , model=y", "", "ip=1,ip=2"]
)


@st.composite
def literals(draw: st.DrawFn, plain: st.SearchStrategy[str] = texts) -> tuple[str, str]:
    """A string, and one of the ways to write it."""
    text = draw(plain)
    mark = draw(st.sampled_from("'\""))
    needed = {mark, "\\", "\n"} if draw(st.booleans()) else set(ESCAPES)
    nothing = draw(st.sampled_from(["", "", r"\1010"]))  # an octal escape, which stands for nothing
    return text, mark + nothing + "".join(ESCAPES[c] if c in needed else c for c in text) + mark


@st.composite
def lists(draw: st.DrawFn, items: st.SearchStrategy[tuple[Any, str]]) -> tuple[list[Any], str]:
    found = draw(st.lists(items, max_size=4))
    gap = st.sampled_from(GAPS)
    written = "[" + draw(gap)
    for at, (_, text) in enumerate(found):
        comma = "," if at + 1 < len(found) or draw(st.booleans()) else ""
        written += text + draw(gap) + comma + draw(gap)
    return [plain for plain, _ in found], written + "]"


numbers = st.from_regex(r"[0-9][0-9a-fx]{0,5}", fullmatch=True).map(lambda text: (text, text))
scalars = literals() | numbers
values = st.recursive(scalars, lists, max_leaves=5)


vif_lists = lists(literals(vifs))
disk_lists = lists(literals(st.builds(str.format, st.sampled_from(DISKS), st.sampled_from(VDEVS))))


@st.composite
def files(draw: st.DrawFn, **kinds: st.SearchStrategy[tuple[Any, str]]) -> tuple[str, dict[str, Any]]:
    """A well-formed file, and the values that it gives; `kinds` are further keys with what they can hold."""
    kinds = {"a": values, "b_c": values, "d.e": scalars, **kinds}
    read: dict[str, Any] = {}
    text = draw(st.sampled_from(GAPS))
    for _ in range(draw(st.integers(0, 8))):
        key = draw(st.sampled_from(sorted(kinds)))
        plain, written = draw(kinds[key])
        adds = type(plain) is type(read.get(key, plain)) and draw(st.booleans())
        read[key] = read[key] + plain if adds and key in read else plain
        equals = draw(st.sampled_from(["=", " = ", "\t= "])).replace("=", "+=" if adds else "=")
        text += key + equals + written + draw(st.sampled_from(ENDS))
    return text.rstrip(" \t;") if draw(st.booleans()) else text, read


@st.composite
def broken(draw: st.DrawFn) -> str:
    """Text that may be a file and mostly is none: fragments, or a file with a piece taken out and another put in."""
    pieces = draw(st.lists(st.sampled_from(FRAGMENTS), max_size=8).map("".join))
    text, _ = draw(st.just(("", {})) | files())
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(start + 3, len(text))))
    return text[:start] + pieces + text[end:]
