"""unibuild/cli/main.py: the command line."""

import pytest

import unibuild
from unibuild.cli import main as cli
from unibuild.doit_plugin.usage import OPTIONS, SHARED, goal_page
from unibuild.graph.graph import GOALS


def test_help_names_goals_commands_and_exit_codes(tree):
    output = tree.run("unibuild", "--help")
    assert output == tree.run("unibuild") == tree.run("unibuild", "help")
    for word in ("boot ", "plan ", "lab ", "init ", "clean ", "--debug", "130 Ctrl-C"):
        assert word in output


@pytest.mark.parametrize("columns", [80, 90, 200])
def test_help_fits_the_terminal(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    pages = [cli._usage(), *map(goal_page, GOALS)]
    assert max(len(line) for page in pages for line in page.splitlines()) <= min(columns, 100)
    assert " ".join(cli._usage().split()).count(" ".join(GOALS["launch_ami"].split())) == 1  # no word is split


@pytest.mark.parametrize("goal", GOALS)
def test_every_goal_has_a_help_page_without_a_project(goal, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for argv in ([goal, "--help"], [goal, "-h"], ["help", goal], [goal, "host=lab", "--help"]):
        assert cli.main(argv) == 0
    page = capsys.readouterr().out
    assert page == 4 * goal_page(goal)
    assert all(f"--{option['long']}" in page for option in (*OPTIONS.get(goal, ()), *SHARED))


def test_every_command_has_a_help_page(tree):
    tree.write("dodo.py", "def task_hi():\n    return {'actions': ['true'], 'doc': 'say hi'}\n")
    for command in (*cli.COMMANDS, *cli.DOIT, "hi"):
        output = tree.run("unibuild", command, "--help")
        assert output and "``" not in output


def test_help_settings_prints_the_reference(capsys):
    assert cli.main(["help", "settings"]) == 0
    assert "xl.memory" in capsys.readouterr().out


def test_version(tree):
    assert tree.run("unibuild", "--version") == f"unibuild {unibuild.__version__}\n"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("biuld",), "there is no goal `biuld`\nhint: did you mean `build`?"),
        (("build", "bot"), "there is no goal `bot`\nhint: did you mean `boot`?"),
        (("plan", "biuld"), "there is no goal `biuld`\nhint: did you mean `build`?"),
        (("info", "biuld"), "there is no goal `biuld`\nhint: did you mean `build`?"),
        (("help", "biuld"), "there is no goal `biuld`\nhint: did you mean `build`?"),
        (("clean", "biuld"), "there is no goal `biuld`\nhint: did you mean `build`?"),
        (("forget", "biuld"), "there is no goal `biuld`\nhint: did you mean `build`?"),
        (("configure",), "this project has nothing to do for `configure`"),
        (("build", "nmae=x"), "did you mean `name`?"),
        (("-C", "nowhere", "build"), "cannot enter the folder nowhere"),
        (("-C",), "-C needs a folder"),
    ],
)
def test_mistyped_word_is_reported_with_the_nearest_one(tree, argv, said):
    assert said in tree.run("unibuild", *argv, code=2)


def test_missing_project_is_reported_with_a_hint(tree, tmp_path):
    assert "run `unibuild init`, which writes one" in tree.run("unibuild", "build", cwd=tmp_path, code=2)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("build", "--frobnicate"), "`unibuild build --help`"),
        (("--frobnicate", "build"), "`unibuild --help`"),
        (("watch", "--jsn"), "did you mean --json?"),
        (("boot", "--wiat=3"), "did you mean --wait?"),
        (("--versoin",), "did you mean --version?"),
        (("boot", "--always-execute"), "`unibuild --always-execute boot`"),
    ],
)
def test_unknown_option_is_reported_with_the_nearest_one(tree, words, hint):
    option = next(word for word in words if word.startswith("-")).partition("=")[0]
    output = tree.run("unibuild", *words, code=2)
    assert f"has no option {option}\n" in output and hint in output


def test_force_runs_a_goal_that_is_up_to_date_and_no_other(tree):
    tree.run("unibuild", "build")
    assert "build: asked for\n  make\n" in tree.run("unibuild", "build", "--force")


def test_another_folder(tree, tmp_path):
    tree.run("unibuild", "-C", str(tree.root), "build", cwd=tmp_path)
    assert tree.log == ["built"]


@pytest.mark.parametrize("door", ["unibuild", "doit"])
def test_traceback_is_printed_only_on_request(tree, door):
    tree.write("Makefile", "hello.xen:\n\tfalse\n")
    output = tree.run(door, "build", code=1)
    assert "error: `make` failed with exit code 2" in output
    program = tree.start(door, "build", UNIBUILD_DEBUG="1")
    assert "Traceback" in program.communicate(timeout=60)[0]


def test_debug_is_an_option_too(tree):
    program = tree.start("unibuild", "--debug", "nowhere")
    output = program.communicate(timeout=60)[0]
    assert (program.returncode, "there is no goal" in output) == (2, True)


def test_closed_output_is_not_an_error(tree):
    assert tree.run("sh", "-c", f"{tree.bin}/unibuild list | true") == ""


def test_empty_word_is_ignored(tree):
    tree.run("unibuild", "build", "")
    assert tree.log == ["built"]


# --- plan


def test_plan_prints_what_would_run_and_why_and_runs_nothing(tree):
    output = tree.run("unibuild", "plan", "build")
    assert output == "build: would run: not done yet\n  make\n"
    assert output == tree.run("unibuild", "--dry-run", "build") == tree.run("unibuild", "build", "--dry-run")
    assert tree.log == []
    assert not (tree.root / ".unibuild").exists()


def test_plan_uses_settings_on_the_command_line(tree):
    assert "  make -j2\n" in tree.run("unibuild", "plan", "build", "build.jobs=2")


def test_plan_of_boot_prints_what_follows_a_stale_stage(tree):
    tree.run("unibuild", "build")
    tree.write("main.c", "two")
    output = tree.run("unibuild", "plan")
    assert "build: would run: main.c changed" in output
    assert "xl: would run" in output
    assert "boot: would run" in output


def test_plan_shows_the_difference_in_the_xl(tree, hello_kernels):
    tree.write("Makefile", f"hello.xen: main.c\n\tcp {hello_kernels.pv} $@\n")
    tree.run("unibuild", "xl", "xl.memory=32")
    output = tree.run("unibuild", "plan", "xl", "xl.memory=64")
    assert "xl: would run: xl.memory changed" in output
    assert "  -memory = 32\n  +memory = 64\n" in output


def test_plan_shows_a_failed_stage(tree):
    tree.write("Makefile", "hello.xen: main.c\n\tfalse\n")
    tree.run("unibuild", "build", code=1)
    assert "build: would run: failed the last time" in tree.run("unibuild", "plan", "build")
    tree.write("Makefile", "hello.xen: main.c\n\tcp main.c $@\n")
    tree.run("unibuild", "build")
    assert tree.run("unibuild", "plan", "build") == "build: up to date\n"


def test_plan_when_everything_is_up_to_date(tree):
    tree.run("unibuild", "build")
    assert tree.run("unibuild", "plan", "build") == "build: up to date\n"


def test_plan_of_console_and_destroy(tree):
    assert "destroy: would run" in tree.run("unibuild", "plan", "destroy")


@pytest.mark.parametrize("word", ["build", "list"])
def test_deleted_current_folder_is_an_error(tree, tmp_path, word):
    script = f"mkdir gone; cd gone; rmdir ../gone; {tree.bin}/unibuild {word}"
    assert tree.run("sh", "-c", script, cwd=tmp_path, code=3) == "error: No such file or directory\n"


def test_full_disk_for_standard_output_is_an_error(tree):
    assert "No space left" in tree.run("sh", "-c", f"{tree.bin}/unibuild list >/dev/full", code=3)
