"""The knobs: what they default to on this machine, what they become, and that they are documented."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from traitlets import TraitError
from traitlets.config import Config

from jupyter_mlenv import host_defaults, host_person
from jupyter_mlenv.config import MlenvConfig
from jupyter_mlenv.errors import RequestInvalid
from jupyter_mlenv.sizes import parse_size
from tests.support import configdoc


def configured(**traits: Any) -> MlenvConfig:
    return MlenvConfig(config=Config({"MlenvConfig": traits}))


def test_the_defaults_describe_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUPYTERHUB_USER", raising=False)
    settings = configured().settings(root_dir="/srv/work")
    assert settings.owner == host_person.login()
    assert (settings.uid, settings.gid) == (os.getuid(), os.getgid())
    assert settings.host_python == sys.executable
    assert settings.host_prefixes[0] == sys.prefix
    assert sys.base_prefix in settings.host_prefixes
    assert settings.root_dir == "/srv/work"
    assert settings.resources.pids == 4096
    assert settings.shared_filesystem is None
    assert host_defaults.socket_paths_fit(settings.run_root)


def test_a_hubs_user_owns_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTERHUB_USER", "alice@example.com")
    assert configured().settings().owner == "alice@example.com"


def test_a_user_without_a_passwd_entry_has_a_name() -> None:
    code = "import os; os.setuid(54321); from jupyter_mlenv import host_person as h; print(h.login(), h.username())"
    if os.getuid() != 0:
        code = code.replace("os.setuid(54321)", "os.getuid = lambda: 54321")
    run = subprocess.run(
        [sys.executable, "-c", "import jupyter_mlenv.host_defaults\n" + code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == ["54321", "jovyan"]


def test_presets_are_looked_for_in_the_jupyter_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JUPYTER_PATH", f"{tmp_path}/first:{tmp_path}/second")
    paths = configured().settings().preset_paths
    assert paths[:2] == (f"{tmp_path}/first/mlenv/presets", f"{tmp_path}/second/mlenv/presets")
    assert f"{sys.prefix}/share/jupyter/mlenv/presets" in paths


def test_a_data_directory_too_deep_for_sockets_gives_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / ("d" * 80)))
    assert configured().settings().run_root == f"/tmp/jupyter-mlenv-{os.getuid()}"
    monkeypatch.setenv("JUPYTER_DATA_DIR", "/var/j")
    assert configured().settings().run_root == "/var/j/mlenv/run"
    with pytest.raises(TraitError, match="too long"):
        configured(run_root="/" + "d" * 90)


def test_the_socket_limit_is_the_systems(tmp_path: Path) -> None:
    import socket

    root = "/tmp/" + "d" * (host_defaults.SOCKET_PATH_BYTES - len(host_defaults.LONGEST_SOCKET) - len("/tmp/"))
    assert host_defaults.socket_paths_fit(root)
    assert not host_defaults.socket_paths_fit(root + "d")
    with socket.socket(socket.AF_UNIX) as sock:
        with pytest.raises(FileNotFoundError):  # the folder is not there, but the name is short enough
            sock.bind(root + host_defaults.LONGEST_SOCKET)
        with pytest.raises(OSError, match="too long"):
            sock.bind(root + "d" + host_defaults.LONGEST_SOCKET)


def test_paths_may_start_with_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/h")
    config = configured(
        allowed_workspaces=["~/work"], preset_paths=["~/presets"], run_root="~/run", ca_bundle="~/ca.pem"
    )
    settings = config.settings()
    assert settings.allowed_workspaces == ("/h/work",)
    assert settings.preset_paths == ("/h/presets",)
    assert (settings.run_root, settings.ca_bundle) == ("/h/run", "/h/ca.pem")


def test_proxies_are_passed_unless_they_should_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "localhost")
    assert configured().settings().proxies == {"https_proxy": "http://proxy:3128", "no_proxy": "localhost"}
    assert configured(pass_proxies=False).settings().proxies == {}


def test_the_first_certificate_bundle_that_exists_counts(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    assert host_defaults.ca_bundle({"SSL_CERT_FILE": "/nowhere", "REQUESTS_CA_BUNDLE": str(bundle)}) == str(bundle)


@pytest.mark.parametrize(
    ("env", "config", "expected"),
    [
        ({}, {}, {}),
        (
            {"PIP_INDEX_URL": "https://a/s", "UV_INDEX_URL": "https://b/s"},
            {"index-url": "https://c/s"},
            {"index": ["https://a/s"]},
        ),
        ({"UV_DEFAULT_INDEX": "https://b/s"}, {"index-url": "https://c/s"}, {"index": ["https://b/s"]}),
        ({}, {"index-url": "https://c/s"}, {"index": ["https://c/s"]}),
        (
            {},
            {"extra-index-url": "\nhttps://c/s\nfile:///srv/wheels\nhttps://d/s"},
            {"extra": ["https://c/s", "https://d/s"]},
        ),
        ({"UV_INDEX": "torch=https://t/s https://u/s?x=1"}, {}, {"extra": ["https://t/s", "https://u/s?x=1"]}),
        ({"PIP_FIND_LINKS": "/srv/wheels ./wheels file:///w https://w/i.html"}, {}, {"links": ["https://w/i.html"]}),
        ({"PIP_TRUSTED_HOST": "a b"}, {"trusted-host": "c"}, {"trusted": ["a", "b"]}),
    ],
)
def test_package_index_settings(env: dict[str, str], config: dict[str, str], expected: dict[str, list[str]]) -> None:
    assert {name: words for name, words in host_defaults.pip_settings(env, config).items() if words} == expected


def test_pips_own_configuration_is_read_the_specific_file_last(tmp_path: Path) -> None:
    user = tmp_path / ".config" / "pip"
    user.mkdir(parents=True)
    (user / "pip.conf").write_text("[global]\nindex-url = https://user/s\n[install]\ntrusted-host = one\n")
    named = tmp_path / "named.conf"
    named.write_text("[global]\nindex-url = https://named/s\n")
    env = {"HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path / "none")}
    assert host_defaults.pip_config(env)["index-url"] == "https://user/s"
    both = host_defaults.pip_config({**env, "PIP_CONFIG_FILE": str(named)})
    assert (both["index-url"], both["trusted-host"]) == ("https://named/s", "one")
    assert host_defaults.pip_config({**env, "PIP_CONFIG_FILE": os.devnull}) == {}
    (user / "pip.conf").write_text("not an ini file")
    assert (
        "index-url" not in host_defaults.pip_config(env)
        or host_defaults.pip_config(env)["index-url"] != "https://user/s"
    )


def test_index_settings_become_the_builds_environment() -> None:
    config = configured(
        pip_index_url="https://a/s",
        pip_extra_index_urls=["https://b/s", "https://c/s"],
        pip_trusted_hosts=[],
        pip_find_links=[],
    )
    assert config.settings().pip_env == {
        "PIP_INDEX_URL": "https://a/s",
        "PIP_EXTRA_INDEX_URL": "https://b/s https://c/s",
    }


def test_limits_become_numbers() -> None:
    settings = configured(default_memory="8g", default_cpus=2.5, default_pids=0, default_shm="512 MiB").settings()
    resources = settings.resources
    assert (resources.memory, resources.cpus, resources.pids, resources.shm) == (8 * 1024**3, 2.5, None, 512 * 1024**2)


@pytest.mark.parametrize(
    "traits",
    [
        {"default_memory": "much"},
        {"default_memory": "1k"},
        {"default_shm": "-1g"},
        {"default_cpus": 0.0},
        {"default_cpus": float("nan")},
        {"default_pids": -1},
        {"builder": "kaniko"},
        {"engine_threads": 0},
        {"allowed_workspaces": 5},
        {"shared_folders": [".ssh"]},
        {"shared_folders": [".config/gh"]},
        {"shared_folders": ["../other"]},
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name(traits: dict[str, Any]) -> None:
    with pytest.raises(TraitError, match=next(iter(traits))):
        configured(**traits).settings()


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("512", 512), ("1k", 1024), ("1.5G", 3 * 2**29), ("8 GiB", 2**33), ("2tb", 2**41), ("512MB", 2**29)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "g", "8 x", "-1", "1e3", "8gg", "٣g", "9" * 40])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


def test_another_interpreter_is_asked_for_its_prefixes(tmp_path: Path) -> None:
    import venv

    venv.create(tmp_path / "v")
    settings = configured(host_python=str(tmp_path / "v" / "bin" / "python")).settings()
    assert settings.host_prefixes == (str(tmp_path / "v"), sys.base_prefix)
    with pytest.raises(RequestInvalid, match="host_python"):
        configured(host_python="/bin/false").settings()
    with pytest.raises(RequestInvalid, match="host_python"):
        configured(host_python="/nowhere/python").settings()


def test_reading_settings_loads_no_heavy_module() -> None:
    code = (
        "import sys; from jupyter_mlenv.config import MlenvConfig; c = MlenvConfig(); c.settings(); c.engine(); "
        "print(sorted({'docker', 'aiohttp', 'tornado', 'jupyter_server', 'jsonschema', 'requests'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_every_knob_has_help_with_an_example_that_works() -> None:
    for name, trait in MlenvConfig.class_traits(config=True).items():
        text, _, example = trait.help.partition("Example: ")
        assert len(text) > 40, name
        config = Config()
        exec(example.strip().strip("`"), {"c": config})
        assert list(config.MlenvConfig) == [name]
        assert MlenvConfig(config=config).trait_values()[name] is not None


def test_the_configuration_page_is_complete_and_current() -> None:
    grouped = [name for names in configdoc.GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(MlenvConfig.class_traits(config=True))
    page = configdoc.PAGE.read_text()
    assert configdoc.MARK + page.split(configdoc.MARK)[1] == configdoc.reference(), (
        "run python -m tests.support.configdoc"
    )
