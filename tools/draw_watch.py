"""Draw docs/watch.svg, a terminal that shows 20 seconds of `unibuild watch`.

Usage: python tools/draw_watch.py

Renderers that support animation show the lines one after the other; others show all of them. The lines are from a real
session in the lab with examples/hello, shortened.
"""

from html import escape
from pathlib import Path
from typing import NamedTuple

LENGTH = 20  # seconds until the animation starts again
WIDTH, LINE, TOP, LEFT = 940, 21, 58, 18
COLORS = {"hello": "#b48ead", "watch": "#88c0d0", "build": "#81a1c1", "xl": "#81a1c1"}
STYLES = {"": "#d8dee9", "bad": "#e06c75", "good": "#a3be8c", "dim": "#7b8494"}


class Line(NamedTuple):
    """One line of the terminal: when it appears (seconds), its origin, its text, its style and a caption."""

    at: float
    origin: str
    text: str
    style: str = ""
    caption: str = ""


LINES = (
    Line(0, "hello", "tick 49"),
    Line(1, "hello", "tick 50"),
    Line(2, "watch", "main.c changed", caption="You save a mistake."),
    Line(2.5, "build", "main.c:17:70: error: expected ';' before 'print'"),
    Line(2.5, "build", "make: *** [lib/kernel.mk:37: build/main.c.o] Error 1"),
    Line(3, "watch", "`make` failed with exit code 2 in ~/hello", "bad"),
    Line(3, "watch", "hello runs on (domain 7)", "good", "The old domain keeps running."),
    Line(3, "watch", "✗ failed after 0.17 s (main.c): debounce 0.03, build 0.14", "bad"),
    Line(5, "hello", "tick 51"),
    Line(7, "hello", "tick 52"),
    Line(8, "watch", "main.c changed", caption="You fix it and save."),
    Line(8.5, "build", "compile main.c"),
    Line(9, "build", "link hello-pv.xen"),
    Line(9.5, "hello", "tick 53"),
    Line(11, "hello", "asked to poweroff"),
    Line(12, "watch", "replaced hello; downtime 1.03 s", "", "The new domain replaces it."),
    Line(
        12, "watch", "✓ booted in 10.55 s (main.c): debounce 0.02, build 0.25, xl 0.08, copy 1.99, create 1.66", "good"
    ),
    Line(12.5, "hello", "good evening from hello, a PV domain"),
    Line(13.5, "hello", "tick 1"),
    Line(15, "hello", "tick 2"),
)
STATUS = "✓ good · hello · generation 5 · domain 8 of lab · up 3 s · ? help"


def draw() -> str:
    """Return the picture as SVG."""
    height = TOP + LINE * (len(LINES) + 1) + 14
    times = sorted({line.at for line in LINES if line.at > 0})
    frames = "\n".join(
        f"@keyframes t{number} {{ 0%, {100 * at / LENGTH:.2f}% {{ opacity: 0 }} "
        f"{100 * at / LENGTH + 0.01:.2f}%, 100% {{ opacity: 1 }} }}\n"
        f".t{number} {{ animation: t{number} {LENGTH}s steps(1) infinite }}"
        for number, at in enumerate(times)
    )
    body = []
    for row, line in enumerate(LINES):
        y = TOP + LINE * row
        appears = f' class="t{times.index(line.at)}"' if line.at > 0 else ""
        caption = f'<text x="{WIDTH - LEFT}" y="{y}" class="c">{escape(line.caption)}</text>' if line.caption else ""
        body.append(
            f'<g{appears}><text x="{LEFT}" y="{y}" fill="{COLORS[line.origin]}">{line.origin}</text>'
            f'<text x="{LEFT + 52}" y="{y}" fill="{STYLES["dim"]}">│</text>'
            f'<text x="{LEFT + 70}" y="{y}" fill="{STYLES[line.style]}">{escape(line.text)}</text>{caption}</g>'
        )
    y = TOP + LINE * len(LINES) + 10
    body.append(f'<text x="{LEFT}" y="{y}" fill="{STYLES["good"]}">{escape(STATUS)}</text>')
    lines = "\n".join(body)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">
<title>20 seconds of unibuild watch</title>
<style>
text {{ font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; white-space: pre }}
.c {{ font: italic 600 14px system-ui, "Helvetica Neue", "DejaVu Sans", sans-serif; fill: #ebcb8b; text-anchor: end }}
{frames}
@media (prefers-reduced-motion: reduce) {{ g {{ animation: none !important }} }}
</style>
<rect width="{WIDTH}" height="{height}" rx="8" fill="#22262e"/>
<circle cx="22" cy="19" r="6" fill="#ff5f57"/>
<circle cx="42" cy="19" r="6" fill="#febc2e"/>
<circle cx="62" cy="19" r="6" fill="#28c840"/>
<text x="{WIDTH / 2:.0f}" y="24" fill="#d8dee9" text-anchor="middle">unibuild watch</text>
{lines}
</svg>
"""


if __name__ == "__main__":
    (Path(__file__).parents[1] / "docs" / "watch.svg").write_text(draw())
