"""Preset files that a stranger has written: bounded in time and size, one error each, and nothing else is hidden."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from jupyter_mlenv import presets
from jupyter_mlenv.errors import PresetInvalid, PresetNotFound
from jupyter_mlenv.presets import toml_scan
from jupyter_mlenv.presets.document import MAX_FILE_BYTES, schema
from jupyter_mlenv.settings import Settings

HOST = "[image]\nhost = true\n"
SOON = 10.0
"""Seconds for what took minutes, or all memory: far more than it needs on a machine that is busy with other things."""


def settings(*folders: Path, **more: object) -> Settings:
    return Settings(
        owner="me",
        uid=1000,
        gid=1000,
        username="ann",
        run_root="/nonexistent",
        preset_paths=tuple(map(str, folders)),
        **more,  # type: ignore[arg-type]
    )


def refused(text: str, where: str = "mlenv.toml") -> PresetInvalid:
    """The one error of this text, which must come soon."""
    begun = time.monotonic()
    with pytest.raises(PresetInvalid) as caught:
        presets.parse(text, file=where, directory="/presets")
    assert time.monotonic() - begun < SOON
    error = caught.value
    assert len(error.message) < 1000
    assert error.message.isprintable()
    assert "line" in error.details
    return error


HARD = {
    "digits in an array": HOST + "[env]\nA = [\n" + "1" * 40 + ",\n" + "1" * 40_000 + "\n]\n",
    "letters before nothing": HOST + "a" * 30 + "\n[resources]\nmemory = 'x'\n" + "b" * 60_000,
    "a dotted key": "a" + ".a" * 20_000 + " = 1\n" + HOST,
    "spaced dots in a header": "[a" + " . a" * 10_000 + "]\n" + HOST,
    "quoted dots": '"a"' + '."a"' * 10_000 + " = 1\n",
    "deep arrays": HOST + "[env]\nA = " + "[" * 30_000 + "]" * 30_000,
    "deep tables": HOST + "[env]\nA = " + "{a=" * 10_000 + "1" + "}" * 10_000,
    "an open bracket": HOST + "[env]\nA = " + "[" * 60_000,
    "a huge integer": HOST + "[resources]\npids = " + "9" * 60_000,
    "a huge hexadecimal": HOST + "[resources]\npids = 0x" + "f" * 60_000,
    "more than 64 bits": HOST + "[resources]\npids = 0xffffffffffffffff",
    "an infinite number": HOST + "[resources]\ncpus = inf",
    "no number": HOST + "[endpoints.a]\ncommand = ['a']\ntimeout = nan",
    "a huge size": HOST + "[resources]\nmemory = '" + "9" * 40 + "g'",
    "wrong items": '[image]\nbase = "a"\npip = [' + "1," * 4_000 + "]",
    "too many items": '[image]\nbase = "a"\npip = [' + "'a'," * 10_000 + "]",
    "wrong keys": HOST + "".join(f"k{n} = 1\n" for n in range(5_000)),
    "tables of a wrong name": HOST + "".join(f"[endpoints.B{n}]\n" for n in range(3_500)),
    "a table of tables": HOST + "".join("[[mounts]]\n" for _ in range(4_900)),
    "an open text": HOST + '[env]\nA = """' + '\\"""' * 15_000,
    "an open literal": HOST + "[env]\nA = '''" + "''x" * 20_000,
    "quotes": HOST + '"' * 60_000,
    "backslashes": HOST + 'title = "' + "\\\\" * 30_000,
    "a long unknown key": HOST + "x" * 60_000 + " = 1",
    "too long": HOST + "# " + "x" * MAX_FILE_BYTES,
    "NUL": HOST + "title = 'a\0b'",
    "a control character in a key": HOST + '"\\u001b]52;c;AAAA\\u0007" = 1',
}


@pytest.mark.parametrize("text", HARD.values(), ids=HARD)
def test_a_hard_file_is_one_error_soon(text: str) -> None:
    refused(text)


@pytest.mark.parametrize("text", HARD.values(), ids=HARD)
def test_a_hard_file_hides_no_other_preset(tmp_path: Path, text: str) -> None:
    (tmp_path / "mlenv.toml").write_text(text)
    begun = time.monotonic()
    found, errors = presets.load(settings(), str(tmp_path))
    assert time.monotonic() - begun < SOON
    assert {preset.name for preset in found} == {preset.name for preset in presets.catalog()}
    assert [error.details["file"] for error in errors] == [str(tmp_path / "mlenv.toml")]


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _outside(path: Path) -> None:
    (path.parent.parent / "secret.toml").write_text(HOST)
    path.symlink_to("../secret.toml")


def _folder(path: Path) -> None:
    path.mkdir()


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 33)


def _latin(path: Path) -> None:
    path.write_bytes(b"title = '\xe9'\n")


def _circle(path: Path) -> None:
    path.symlink_to("mlenv.toml")


@pytest.mark.parametrize("make", [_fifo, _device, _outside, _folder, _sparse, _latin, _circle])
def test_what_is_no_text_file_is_one_error_soon(tmp_path: Path, make: Callable[[Path], None]) -> None:
    work = tmp_path / "work"
    work.mkdir()
    make(work / "mlenv.toml")
    begun = time.monotonic()
    found, (error,) = presets.load(settings(), str(work))
    assert time.monotonic() - begun < SOON
    assert error.details["file"] == str(work / "mlenv.toml")
    assert "cannot be read" in error.message
    assert len(found) == len(presets.catalog())


def test_random_files_are_a_preset_or_one_error() -> None:
    """Pieces of real files put together at random, and broken at random."""
    pieces = [
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        ".",
        ",",
        "\n",
        '"',
        '"""',
        "'''",
        "'",
        "\\",
        "#",
        " ",
        "0",
        "1e9",
        "-",
    ]
    pieces += ["image", "host", "true", "mounts", "env", "endpoints", "a", "\u202e", "\x1b", "é", "inf", "1979-05-27"]
    good = [path.read_text("utf-8") for path in (Path(presets.__file__).parent / "catalog").glob("*.toml")]
    luck = random.Random(7)
    begun = time.monotonic()
    for _ in range(1500):
        if luck.random() < 0.5:
            text = "".join(luck.choice(pieces) for _ in range(luck.randrange(60)))
        else:
            text = luck.choice(good)
            for _ in range(luck.randrange(1, 5)):
                place = luck.randrange(len(text))
                text = text[:place] + luck.choice(pieces) + text[place + luck.randrange(3) :]
        with suppress(PresetInvalid):
            presets.parse(text, file="mlenv.toml", directory="/presets")
    assert time.monotonic() - begun < 6 * SOON


def test_whatever_parses_was_measured_to_its_end() -> None:
    """The look before parsing takes a text for TOML exactly as far as the parser does."""
    texts = ["a = '''x''''\nb = 1\n", 'a = """\\"""" \nb = """"x"""""\n', "a = [ # ]\n 1, 'x' ]\nb.c = {d = '}'}\n"]
    texts += ['a = 1979-05-27 07:32:00.5Z\nb = -1.5e+3\n\'c d\'."e" = \'\'\n"" = ""\n', "\r\na = 1\r\n# end"]
    texts += [path.read_text("utf-8") for path in (Path(presets.__file__).parent / "catalog").glob("*.toml")]
    for text in texts:
        assert toml_scan.measured(text) == text
    assert [key for _, key in toml_scan.keys(texts[2])] == [("a",), ("b", "c")]


@pytest.mark.parametrize(
    "path",
    [
        "../../../../logout",
        "a/../../b",
        "..",
        ".",
        "a/..",
        "/lab",
        "//evil.test/",
        "a//evil.test",
        "\\\\evil.test",
        "a/..\\b",
        "https://evil.test",
        "javascript:alert(1)",
        "%2e%2e/logout",
        ".%2E/logout",
        "%252e%252e/logout",
        "a%2f..%2f..%2flogout",
        "a%5c..%5cb",
        "..;/logout",
        " /x",
        ".. /x",
        "a\n/../b",
        "a\t",
    ],
)
@pytest.mark.parametrize("key", ["open", "ready"])
def test_an_endpoint_opens_nothing_but_itself(path: str, key: str) -> None:
    written = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
    error = refused(HOST + f'[endpoints.web]\ncommand = ["x"]\n{key} = "{written}"\n')
    assert error.details["field"] == f"endpoints.web.{key}"


@pytest.mark.parametrize(
    "path", ["", "api", "lab/workspaces/{id}", "lab/tree/a..b", "x?next=../y//z", "#/a/../b", "a%20b"]
)
def test_an_endpoint_opens_places_below_itself(path: str) -> None:
    preset = presets.parse(HOST + f'[endpoints.notebook]\nopen = "{path}"\n', file="a.toml", directory="/")
    assert preset.endpoints[0].open == path


@pytest.mark.parametrize(
    "text",
    [
        'name = "a\\n"\n' + HOST,
        '[image]\nreference = "a\\n"',
        '[image]\nbase = "a"\npip = ["a\\n"]',
        '[image]\nbase = "a"\npip_index = "https://a.test\\n"',
        HOST + 'python = "a\\n"',
        HOST + '[resources]\nmemory = "1g\\n"',
        HOST + '[resources]\ngpus = "all\\n"',
        HOST + '[env]\n"A\\n" = "x"',
        HOST + '[endpoints."a\\n"]\ncommand = ["a"]',
        HOST + '[kernel]\nspec = "ir\\n"',
        HOST + '[kernel]\npreload = ["a\\n"]',
        'title = "a\\n"\n' + HOST,
        'title = "a\\u001b[2J"\n' + HOST,
        'title = "a\\u202eb"\n' + HOST,
        'description = "\\u001b]52;c;AAAA\\u0007"\n' + HOST,
        HOST + '[env]\nA = "\\u001b[2J"',
        HOST + '[kernel]\ndisplay_name = "a\\u0007"',
    ],
)
def test_no_control_characters_where_they_mean_nothing(text: str) -> None:
    assert "must be" in refused(text).message


def test_every_pattern_of_the_schema_is_matched_to_the_end() -> None:
    """`$` alone also matches before a line break at the end."""

    def patterns(rule: object) -> list[str]:
        if isinstance(rule, list):
            return [found for one in rule for found in patterns(one)]
        if not isinstance(rule, dict):
            return []
        own = [rule["pattern"]] if isinstance(rule.get("pattern"), str) else []
        return own + [found for one in rule.values() for found in patterns(one)]

    anchored = [pattern for pattern in patterns(schema()) if pattern.startswith("^")]
    assert len(anchored) > 10
    assert [p for p in anchored if not p.endswith("$(?!\\n)") and not p.endswith("\\x7f-\\x9f]*$")] == []


def test_a_project_inherits_no_secret(tmp_path: Path) -> None:
    """Variables, arguments, indexes and commands of the person's own preset may hold keys and passwords."""
    mine, work = tmp_path / "mine", tmp_path / "work"
    mine.mkdir()
    work.mkdir()
    (mine / "work.toml").write_text(
        '[image]\nbase = "base:1"\npip = ["numpy", "ours @ https://ann:canary@git.test/x"]\nrequirements = "r.txt"\n'
        'pip_index = "https://ann:canary@pypi.test/simple"\n[resources]\nmemory = "1g"\n'
        '[env]\nAWS_SECRET_ACCESS_KEY = "canary"\n'
        '[endpoints.mlflow]\ncommand = ["mlflow", "--uri", "pg://canary@db"]\n'
        "[endpoints.tensorboard]\nenabled = false\n"
        '[endpoints.notebook]\nenv = { KEY = "canary" }\n'
        '[kernel]\nargv = ["k", "--key", "canary", "{connection_file}"]\nlanguage = "R"\npreload = ["numpy"]\n'
    )
    (work / "mlenv.toml").write_text('extends = "work"\n')
    found, errors = presets.load(settings(mine), str(work))
    assert errors == []
    own = presets.find("project", found)
    assert "canary" not in repr(own)
    assert (own.image.base, own.image.pip, own.image.requirements) == ("base:1", ("numpy",), "")
    assert own.resources.memory == 1024**3
    assert [endpoint.name for endpoint in own.endpoints] == ["notebook"]
    assert (own.kernel.language, own.kernel.preload) == ("python", ("numpy",))
    assert "canary" in repr(presets.find("work", found)), "the person's own is what it was"


def test_a_project_inherits_no_arguments_of_a_dockerfile(tmp_path: Path) -> None:
    mine, work = tmp_path / "mine", tmp_path / "work"
    mine.mkdir()
    work.mkdir()
    (mine / "work.toml").write_text('[image]\ndockerfile = "D"\nargs = { TOKEN = "canary" }\n')
    (work / "mlenv.toml").write_text('extends = "work"\n')
    own = presets.load(settings(mine), str(work))[0][0]
    assert (own.image.dockerfile, dict(own.image.args)) == (str(mine / "D"), {})


def test_a_start_of_a_refused_preset_says_why(tmp_path: Path) -> None:
    for text, name in (
        ('name = "ours"\n[image]\nreferense = "x"\n', "ours"),
        ('name = "ours"\n[image\n', "ours"),
        ("[image\n", "project"),
    ):
        (tmp_path / "mlenv.toml").write_text(text)
        found, errors = presets.load(settings(), str(tmp_path))
        with pytest.raises(PresetInvalid):
            presets.find(name, found, errors)
        with pytest.raises(PresetNotFound) as other:
            presets.find("something", found, errors)
        assert errors[0].message in other.value.message


def test_the_administrator_can_turn_projects_presets_off(tmp_path: Path) -> None:
    (tmp_path / "mlenv.toml").write_text("name = ")
    found, errors = presets.load(settings(project_presets=False), str(tmp_path))
    assert errors == []
    (tmp_path / "mlenv.toml").write_text(HOST)
    found, errors = presets.load(settings(project_presets=False), str(tmp_path))
    assert (len(found), errors) == (len(presets.catalog()), [])


@pytest.mark.parametrize("way", ["plain", "link to the folder", "link to the file"])
def test_what_a_container_could_have_written_is_nobodys_own_preset(tmp_path: Path, way: str) -> None:
    """As with a Jupyter that is installed in a venv in the project: its data path lies there too."""
    work = tmp_path / "work"
    inside = work / ".venv" / "share" / "jupyter" / "mlenv" / "presets"
    inside.mkdir(parents=True)
    (inside / "evil.toml").write_text(HOST + '[[mounts]]\nsource = "~/.ssh"\ntarget = "/keys"\n')
    folder = inside
    if way == "link to the folder":
        folder = tmp_path / "presets"
        folder.symlink_to(inside)
    elif way == "link to the file":
        folder = tmp_path / "presets"
        folder.mkdir()
        (folder / "evil.toml").symlink_to(inside / "evil.toml")
    found, errors = presets.load(settings(folder), str(work))
    assert "evil" not in {preset.name for preset in found}
    assert [error.details["file"] for error in errors] == [str(folder / "evil.toml")]
    assert "evil" in {preset.name for preset in presets.load(settings(folder), str(tmp_path / "other"))[0]}
