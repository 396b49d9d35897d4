"""Arguments of the watch goal."""

from unibuild.doit_plugin.loader import Loader


def test_the_loader_hands_on_the_name_of_the_dodo_file(tmp_path, monkeypatch):
    named = tmp_path / "other.py"
    named.write_text("")
    monkeypatch.chdir(tmp_path)
    loader = Loader()
    loader.setup({"dodoFile": "other.py", "seek_file": False, "cwdPath": None})
    assert loader.dodo == str(named)
