"""tools/check_words.py finds the words that tools/words.toml refuses, and the clean folders have none of them."""

import ast
import importlib.util
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def check_words():
    spec = importlib.util.spec_from_file_location("check_words", ROOT / "tools" / "check_words.py")
    module = sys.modules["check_words"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["check_words"]


@pytest.fixture
def found(check_words, tmp_path):
    rules, _, _ = check_words.load(ROOT / "tools" / "words.toml")

    def found(name, text):
        path = tmp_path / name
        path.write_text(text)
        return [(finding.line, finding.found) for finding in check_words.check(path, name, rules)]

    return found


def test_clean_folders_have_no_refused_words(check_words, capsys):
    assert check_words.main([]) == 0, capsys.readouterr().out


def test_class_names_are_unique_in_the_package():
    trees = [ast.parse(path.read_text()) for path in (ROOT / "unibuild").rglob("*.py")]
    names = Counter(node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef))
    assert [name for name, count in names.items() if count > 1] == []


def test_markdown_prose_is_checked_across_line_ends(found):
    assert found("page.md", "# Title\n\nThe kernel is\ntold.\n") == [(3, "is told")]


@pytest.mark.parametrize("text", ["Set `settle` to 1.\n", "```\nsettle\n```\n", "    settle = 1\n", "[x](settle.md)\n"])
def test_markdown_code_is_not_checked(found, text):
    assert found("page.md", text) == []


@pytest.mark.parametrize("text", ["- a\n\n  the outage\n", "| outage |\n", "# The outage\n", "1. a\n    outage\n"])
def test_markdown_lists_tables_and_headings_are_checked(found, text):
    assert [word for _, word in found("page.md", text)] == ["outage"]


@pytest.mark.parametrize(
    "text",
    [
        "# the outage\n",
        '"""The outage."""\n',
        'print("the outage")\n',
        "def measure_outage(): ...\n",
        "class LongOutage: ...\n",
        "x = 1  # outage\n",
        'print(f"{x} outage")\n',
    ],
)
def test_python_comments_strings_and_defined_names_are_checked(found, text):
    assert [word.lower() for _, word in found("code.py", text)] == ["outage"]


@pytest.mark.parametrize("text", ["outage = 1\n", "x.outage()\n", '"""Set `outage`."""\n'])
def test_other_python_names_and_code_spans_are_not_checked(found, text):
    assert found("code.py", text) == []


def test_module_names_are_checked(found):
    assert found("test_outage.py", "\n") == [(1, "outage")]


def test_a_comment_block_is_one_text(found):
    assert found("code.py", "# The domain is\n# told.\n") == [(1, "is told")]
