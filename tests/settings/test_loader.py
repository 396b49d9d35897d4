"""The source chain: defaults < unibuild.toml < environment < command line."""

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibuild.errors import FileError, SettingsError
from unibuild.settings.loader import load, state_dir
from unibuild.settings.model import DISK_KEYS, VIF_KEYS, Settings
from unibuild.settings.schema import expected, leaves
from unibuild.xlcfg.devices import change_disk, change_vif


@pytest.fixture
def settings(tmp_path):
    """Return a function that loads the settings of a project with this ``unibuild.toml``."""

    def read(toml="", words=None, **environ):
        (tmp_path / "unibuild.toml").write_text(toml)
        return load(tmp_path, words or {}, environ).settings

    return read


@pytest.fixture
def refusal(settings, tmp_path):
    """Return a function that returns the error of such a project, without the folder in its message."""

    def read(toml="", words=None, **environ):
        with pytest.raises(SettingsError) as caught:
            settings(toml, words, **environ)
        return str(caught.value).replace(f"{tmp_path}/", "")

    return read


# --- the source chain


def test_empty_file_gives_the_defaults(settings):
    assert settings() == Settings()


def test_each_source_overrides_the_one_before(settings):
    toml = "[lab]\nmemory = 600"
    assert settings(toml).lab.memory == 600
    assert settings(toml, UNIBUILD_LAB_MEMORY="700").lab.memory == 700
    assert settings(toml, {"lab.memory": "800"}, UNIBUILD_LAB_MEMORY="700").lab.memory == 800


def test_tables_are_merged_key_by_key(settings):
    toml = '[xl.vif.0]\nbridge = "br0"\nmac = "00:16:3e:00:00:01"'
    found = settings(toml, {"xl.vif.1.bridge": "br2"}, UNIBUILD_XL_VIF_0_BRIDGE="br1")
    assert found.xl.vif == {"0": {"bridge": "br1", "mac": "00:16:3e:00:00:01"}, "1": {"bridge": "br2"}}


def test_list_replaces_the_earlier_one(settings):
    assert settings('[build]\nsources = ["*.c"]', {"build.sources": "*.h *.S"}).build.sources == ("*.h", "*.S")


def test_empty_table_is_kept_because_it_adds_a_device(settings):
    assert settings("[xl.vif.0]").xl.vif == {"0": {}}


def test_file_is_found_in_a_folder_above(tmp_path):
    (tmp_path / "unibuild.toml").write_text('name = "www"')
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    project = load(inner, {}, {})
    assert (project.root, project.file) == (tmp_path, tmp_path / "unibuild.toml")
    assert project.settings.name == "www"


def test_relative_start_gives_an_absolute_root(tmp_path, monkeypatch):
    (tmp_path / "unibuild.toml").touch()
    monkeypatch.chdir(tmp_path)
    assert load(type(tmp_path)(), {}, {}).root == tmp_path


def test_missing_file_has_the_hint_init(tmp_path):
    with pytest.raises(SettingsError, match=r"no unibuild\.toml in .* or a folder above it\n.*unibuild init"):
        load(tmp_path, {}, {})


def test_unreadable_file_is_a_file_error(tmp_path, monkeypatch):
    (tmp_path / "unibuild.toml").touch()

    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(FileError, match="Permission denied"):
        load(tmp_path, {}, {})


# --- text from the environment and the command line


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("preserve", "preserve"),
        ("5", 5),
        ("-1", -1),
        ("007", "007"),
        ("1.5", "1.5"),
        ("true", True),
        ("True", "True"),
        ('"5"', "5"),
        ("'true'", "true"),
        ('["a", "b"]', ["a", "b"]),
        ("00:16:3e:00:00:01", "00:16:3e:00:00:01"),
        ("2026-11-23", "2026-11-23"),
        ("x = 1\ny = 2", "x = 1\ny = 2"),
    ],
)
def test_text_for_any_scalar(settings, text, value):
    assert settings("", {"xl.set.some_key": text}).xl.set == {"some_key": value}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", ()),
        ("-v", ("-v",)),
        ("--net direct --name 'a b'", ("--net", "direct", "--name", "a b")),
        ('["--net", "a b"]', ("--net", "a b")),
        ("*.[ch]", ("*.[ch]",)),
        ("[ab].c", ("[ab].c",)),
    ],
)
def test_text_for_a_list(settings, text, value):
    assert settings("", {"mirage.args": text}).mirage.args == value


def test_text_for_a_string_is_the_text(settings):
    assert settings("", {"xl.cmdline": "'a' = [null]", "name": "5"}).xl.cmdline == "'a' = [null]"


def test_text_for_numbers_and_choices(settings):
    found = settings("", {"boot.wait": "2.5", "xl.memory": "64", "boot.console": "none"})
    assert (found.boot.wait, found.xl.memory, found.boot.console) == (2.5, 64, "none")


def test_variables_set_keys_of_tables(settings):
    found = settings("", UNIBUILD_XL_SET_ON_CRASH="preserve", UNIBUILD_XL_DISK_XVDA_TARGET="a.img", UNIBUILD_HOST="lab")
    assert (found.xl.set, found.xl.disk, found.host) == (
        {"on_crash": "preserve"},
        {"xvda": {"target": "a.img"}},
        "lab",
    )


def test_names_in_build_env_keep_their_case(settings):
    found = settings("", {"build.env.A": "1"}, UNIBUILD_BUILD_ENV_CFLAGS="-O2", UNIBUILD_BUILD_ENV_my_Var="x")
    assert found.build.env == {"CFLAGS": "-O2", "my_Var": "x", "A": "1"}


def test_empty_and_reserved_variables_are_ignored(settings):
    assert settings("", UNIBUILD_HOST="", UNIBUILD_ARGS="host=lab", UNIBUILD="unibuild", HOME="/") == Settings()


# --- refused settings, with the exact message


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        (
            "[lab]\nmemroy = 512",
            "unibuild.toml:2: `[lab] memroy` is unknown\n"
            "  did you mean `[lab] memory`? known here: memory, accel, forward, network, image",
        ),
        (
            "\nmemory = 64",
            "unibuild.toml:2: `memory` is unknown\n  did you mean `[xl] memory` or `[lab] memory`? "
            "known here: name, host, build, mirage, xl, boot, watch, lab, image, publish, launch, hosts, test",
        ),
        (
            "[bulid]",
            "unibuild.toml:1: `bulid` is unknown\n  did you mean `build`? "
            "known here: name, host, build, mirage, xl, boot, watch, lab, image, publish, launch, hosts, test",
        ),
        (
            '[lab]\naccel = "tcg"\nmemory = "lots"',
            'unibuild.toml:3: `[lab] memory` must be a whole number from 512 to 65536, not "lots"',
        ),
        ("[lab]\nmemory = 8", "unibuild.toml:2: `[lab] memory` must be a whole number from 512 to 65536, not 8"),
        (
            'lab.accel = "kwm"',
            'unibuild.toml:1: `[lab] accel` must be one of `auto`, `kvm`, `tcg`, not "kwm"',
        ),
        ('[build]\nsources = "*.c"', 'unibuild.toml:2: `[build] sources` must be a list of strings, not "*.c"'),
        (
            "[xl.set]\nfoo = 1.5",
            "unibuild.toml:2: `[xl.set] foo` must be a string, a whole number, true or false or a list of strings, "
            "not 1.5",
        ),
        (
            '[xl.vif]\n"a b" = { bridge = "br0" }',
            "unibuild.toml:2: `[xl.vif] a b`: the key `a b` must be the device's number, from 0, or the name that the "
            "unikernel has for it",
        ),
        (
            '[xl.vif.0]\nmac = "00:16:3e:00:00:01"\nbrigde = "br0"',
            "unibuild.toml:3: `[xl.vif.0] brigde` is unknown\n  did you mean `[xl.vif.0] bridge`? known here: accel, "
            "backend, bridge, devid, forwarddev, gatewaydev, ip, mac, model, mtu, netdev, rate, script, trusted, type, "
            "vifname, vlan, remove",
        ),
        (
            "lab = true",
            "unibuild.toml:1: `lab` must be a table, not true\n"
            "  it holds keys: `[lab] memory` (memory, accel, forward, network, image)",
        ),
        (
            '[[xl.vif]]\nbridge = "br0"',
            "unibuild.toml:1: `[xl] vif` must be a table, not [{'bridge': 'br0'}]\n"
            "  it holds keys: `[xl.vif.<VIF>] <KEY>`",
        ),
        (
            'name = "a b"',
            "unibuild.toml:1: `name` must be a name of at most 200 letters, digits and `_ . + -` that starts with none "
            'of the last three, not "a b"',
        ),
    ],
)
def test_errors_in_a_file(refusal, toml, sentence):
    assert refusal(toml) == sentence


@pytest.mark.parametrize(
    ("word", "text", "sentence"),
    [
        (
            "lab.memroy",
            "5",
            "command line, `lab.memroy=5`: `lab.memroy` is unknown\n"
            "  did you mean `lab.memory`? known here: memory, accel, forward, network, image",
        ),
        (
            "lab.memory",
            "lots",
            'command line, `lab.memory=lots`: `lab.memory` must be a whole number from 512 to 65536, not "lots"',
        ),
        (
            "lab",
            "3",
            'command line, `lab=3`: `lab` must be a table, not "3"\n'
            "  it holds keys: `lab.memory` (memory, accel, forward, network, image)",
        ),
        (
            "xl.vif.0",
            "br0",
            'command line, `xl.vif.0=br0`: `xl.vif.0` must be a table, not "br0"\n  it holds keys: `xl.vif.0.<KEY>` '
            "(accel, backend, bridge, devid, forwarddev, gatewaydev, ip, mac, model, mtu, netdev, rate, script, "
            "trusted, type, vifname, vlan, remove)",
        ),
        (
            "lab.memory.max",
            "3",
            "command line, `lab.memory.max=3`: `lab.memory.max` is unknown: `lab.memory` is not a table",
        ),
        (
            "mirage.args",
            "'open",
            "command line, `mirage.args='open`: `mirage.args` must be a list of strings, not \"'open\"",
        ),
        (
            "mirage.args",
            "[1]",
            "command line, `mirage.args=[1]`: `mirage.args` must be a list of strings, not [1]",
        ),
        (
            "launch.open",
            "80,53/udp",
            "command line, `launch.open=80,53/udp`: each value of `launch.open` must be a port, or a first and last "
            'one, with `/tcp` or `/udp`; or `icmp`, not "80,53/udp"\n  separate the values with spaces: 80 53/udp',
        ),
        (
            "publish.tags.Owner",
            "v" * 256,
            f"command line, `publish.tags.Owner={'v' * 256}`: `publish.tags.Owner` must be a tag's value, at most 255 "
            f'characters, not "{"v" * 55} ...',
        ),
    ],
)
def test_errors_on_the_command_line(refusal, word, text, sentence):
    assert refusal("", {word: text}) == sentence


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        (
            "UNIBUILD_LAB_MEMROY",
            "5",
            "environment: `UNIBUILD_LAB_MEMROY` is not a setting\n  did you mean `UNIBUILD_LAB_MEMORY`?",
        ),
        (
            "UNIBUILD_LAB_MEMORY",
            "lots",
            'environment: `UNIBUILD_LAB_MEMORY` must be a whole number from 512 to 65536, not "lots"',
        ),
        (
            "UNIBUILD_QQQQQQQQQQQQQQQQQQ",
            "5",
            "environment: `UNIBUILD_QQQQQQQQQQQQQQQQQQ` is not a setting\n"
            "  unset it: names that start with UNIBUILD_ are settings",
        ),
        (
            "UNIBUILD_XL",
            "5",
            'environment: `UNIBUILD_XL` must be a table, not "5"\n'
            "  it holds keys: `UNIBUILD_XL_FILE` (file, memory, vcpus, type, cmdline, set, vif, disk)",
        ),
    ],
)
def test_errors_in_a_variable(refusal, name, text, sentence):
    assert refusal("", {}, **{name: text}) == sentence


@pytest.mark.parametrize(
    ("toml", "start"),
    [
        ("a = 1\nb = = 2", "unibuild.toml:2:5: this is not TOML: invalid value"),
        ("\na = [", "unibuild.toml:2: this is not TOML: invalid value"),
        ("a = 1\na = 2", "unibuild.toml:2: this is not TOML: cannot overwrite a value"),
        ("a = " + "9" * 5000, "unibuild.toml: this is not TOML: exceeds the limit"),
        ("a = " + "[" * 100_000, "unibuild.toml: the values are nested too deep"),
    ],
)
def test_file_that_is_not_toml(refusal, toml, start):
    assert refusal(toml).startswith(start)


def test_file_that_is_not_utf8(tmp_path):
    (tmp_path / "unibuild.toml").write_bytes(b'host = "lab"\nname = "\xff"\n')
    with pytest.raises(SettingsError, match=r"unibuild\.toml:2: this is not UTF-8"):
        load(tmp_path, {}, {})


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        ('[xl]\ncmdline = """\n[lab]\nmemroy = 1\n"""\n[lab]\nmemroy = 1', 7),
        ('# [lab] memroy = 1 """\nlab = { memroy = 1 }', 2),
        ('[ lab ]  # the lab\n"memroy"   = 1', 2),
        ("[lab]\naccel = 'tcg'\n[boot]\n[xl]\n[mirage]\nmemroy = 1", 6),
    ],
)
def test_error_names_the_line_of_the_key(refusal, toml, line):
    assert refusal(toml).startswith(f"unibuild.toml:{line}: ")


# --- properties


@given(
    key=st.one_of(st.sampled_from([leaf.dotted for leaf in leaves()]), st.text(max_size=20)),
    text=st.text(max_size=20),
    toml=st.one_of(st.just(""), st.text(max_size=30)),
)
def test_any_input_gives_settings_or_an_error(tmp_path_factory, key, text, toml):
    folder = tmp_path_factory.mktemp("project")
    (folder / "unibuild.toml").write_text(toml, encoding="utf-8", newline="")
    variable = "UNIBUILD_" + key.replace(".", "_").upper()
    for words, environ in (({key: text}, {}), ({}, {variable: text + "\udcff"})):
        try:
            assert isinstance(load(folder, words, environ).settings, Settings)
        except SettingsError as error:
            assert error.message


DEFAULTS = [leaf for leaf in leaves() if "<" not in leaf.dotted and leaf.default not in (None, ())]


@pytest.mark.parametrize("leaf", DEFAULTS, ids=lambda leaf: leaf.dotted)
def test_default_given_as_text_is_the_default(settings, leaf):
    def value(found):
        return functools.reduce(getattr, leaf.path, found)

    text = " ".join(leaf.default) if isinstance(leaf.default, tuple) else str(leaf.default)
    for words, environ in (({leaf.dotted: text}, {}), ({}, {leaf.variable: text})):
        assert value(settings("", words, **environ)) == leaf.default


@pytest.mark.parametrize("leaf", list(leaves()), ids=lambda leaf: leaf.dotted)
def test_every_setting_has_documentation_and_a_type_name(leaf):
    assert leaf.doc.endswith((".", ")"))
    assert expected(leaf.type)


def test_state_folder_is_ignored_by_git(tmp_path):
    folder = state_dir(tmp_path)
    assert (folder, (folder / ".gitignore").read_text()) == (tmp_path / ".unibuild", "*\n")
    assert state_dir(tmp_path) == folder


def test_devices_are_found_by_the_names_in_the_unikernel(settings):
    found = settings(
        '[xl.disk."disk.img"]\ntarget = "/a"', {'xl.disk."disk.img".target': "/b", "xl.vif.service.mtu": "9"}
    )
    assert (found.xl.disk, found.xl.vif) == ({"disk.img": {"target": "/b"}}, {"service": {"mtu": 9}})


@pytest.mark.parametrize(
    ("toml", "words", "args"),
    [
        ('[boot]\nargs = ["--port=80", "--hello=a b"]', {}, ("--port=80", "--hello=a b")),
        ('[boot.args]\nport = 80\nv = true\nx = ["a"]', {}, {"port": 80, "v": True, "x": ["a"]}),
        ("", {"boot.args": "--port=80 '--hello=a b'"}, ("--port=80", "--hello=a b")),
        ("", {"boot.args": '["--port=80"]'}, ("--port=80",)),
        ("", {"boot.args.port": "80", "boot.args.v": "true"}, {"port": 80, "v": True}),
        ("[boot.args]\nport = 80\nx = 1", {"boot.args.port": "81"}, {"port": 81, "x": 1}),
        ('[boot]\nargs = ["--port=80"]', {"boot.args.port": "81"}, {"port": 81}),
        ("[boot.args]\nport = 80", {"boot.args": "--port=81"}, ("--port=81",)),
    ],
)
def test_arguments_are_a_list_or_a_table(settings, toml, words, args):
    assert settings(toml, words).boot.args == args


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        ("[boot]\nargs = 3", "unibuild.toml:2: `[boot] args` must be a list of strings or a table, not 3"),
        (
            '[boot.args]\n"--port" = 80',
            "unibuild.toml:2: `[boot.args] --port`: the key `--port` must be the name of an argument, without the "
            "dashes before it",
        ),
    ],
)
def test_wrong_arguments(refusal, toml, sentence):
    assert refusal(toml) == sentence


@pytest.mark.parametrize(("kind", "words", "change"), [("vif", VIF_KEYS, change_vif), ("disk", DISK_KEYS, change_disk)])
def test_sub_keys_are_those_of_the_patcher(kind, words, change):
    with pytest.raises(SettingsError, match=f"unknown sub-key of a {kind}: sub-key"):
        change("", {"sub-key": "x"})
    for word in words:
        try:
            change("", {word: "x"})
        except SettingsError as error:
            assert not error.message.startswith(f"a {kind} has no")


# --- named tables, lists of tables, patterns


def test_named_hosts_come_from_every_source(settings):
    toml = '[hosts.xen1]\naddress = "ssh://xen1"\nxl.memory = 64'
    found = settings(
        toml, {"hosts.xen1.sudo": "never"}, UNIBUILD_HOSTS_MY_BOX_ADDRESS="lab", UNIBUILD_HOSTS_XEN1_XL_VIF_0_BRIDGE="b"
    )
    assert (found.hosts["xen1"].sudo, found.hosts["xen1"].xl.memory, found.hosts["my_box"].address) == (
        "never",
        64,
        "lab",
    )
    assert found.hosts["xen1"].xl.vif == {"0": {"bridge": "b"}}


def test_list_of_tables(settings):
    toml = '[[test.boots.http]]\nport = 8080\n[[test.boots.http]]\npath = "/a"'
    words = {"test.boots.http": '[{port = 8080}, {path = "/a"}]'}
    assert [(one.port, one.path) for one in settings(toml).test["boots"].http] == [(8080, "/"), (80, "/a")]
    assert settings("", words).test == settings(toml).test


@pytest.mark.parametrize(("text", "value"), [("3", 3), ("poweroff", "poweroff"), ("'crash'", "crash")])
def test_exit_of_a_test_is_a_number_or_a_word(settings, text, value):
    assert settings("", {"test.a.exit": text}).test["a"].exit == value


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        (
            "[hosts.xen1]\nsudo = 'never'",
            "unibuild.toml:1: `[hosts.xen1]` has no `address`\n  it must be a string",
        ),
        (
            '[hosts.all]\naddress = "lab"',
            "unibuild.toml:1: `[hosts] all`: the key `all` must be a name for a host: letters, digits and `_ . -`, and "
            "none of `auto`, `all`, `others`",
        ),
        (
            "[[test.a.http]]\nport = 80\n[[test.a.http]]\nport = 0",
            "unibuild.toml:4: `[test.a.http] port` must be a whole number from 1 to 65535, not 0",
        ),
        (
            "[test.a]\nhttp = [{ prot = 80 }]",
            "unibuild.toml:2: `[test.a.http] prot` is unknown\n"
            "  did you mean `[test.a.http] port`? known here: port, path, status, body",
        ),
        (
            "[test.a]\nhttp = 80",
            "unibuild.toml:2: `[test.a] http` must be a list of tables, not 80",
        ),
        (
            '[test.a]\nexit = "off"',
            "unibuild.toml:2: `[test.a] exit` must be a whole number or one of `poweroff`, `reboot`, `crash`, "
            'not "off"',
        ),
        (
            '[boot.ready]\nconsole = "("',
            "unibuild.toml:2: `[boot.ready] console` must be a regular expression, as Python's `re` reads it, not "
            '"(": missing ), unterminated subpattern at position 0',
        ),
        (
            '[test.a]\nconsole = ["a", "["]',
            'unibuild.toml:2: `[test.a] console` must be a list of regular expressions, not "[": unterminated '
            "character set at position 0",
        ),
    ],
)
def test_errors_in_named_tables(refusal, toml, sentence):
    assert refusal(toml) == sentence


def test_files_that_may_contain_secrets_are_private(tree):
    (tree.root / ".unibuild").mkdir()
    (tree.root / ".unibuild").chmod(0o755)  # an older unibuild left these permissions
    tree.run("unibuild", "build")
    folder = tree.root / ".unibuild"
    made = [path for path in folder.rglob("*") if path.is_file()]
    assert (oct(folder.stat().st_mode & 0o777), len(made) > 3) == ("0o700", True)
    assert [path.name for path in made if path.stat().st_size and path.stat().st_mode & 0o077] == []


def test_byte_order_mark_is_ignored(tmp_path):
    (tmp_path / "unibuild.toml").write_bytes(b'\xef\xbb\xbfname = "www"\n')
    assert load(tmp_path, {}, {}).settings.name == "www"
