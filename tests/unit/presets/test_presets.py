"""Preset files: what they mean, what is said when they are wrong, and what a cloned repository's may not do."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from jupyter_mlenv import presets
from jupyter_mlenv.engines.gpus import EVERY, GpuRequest
from jupyter_mlenv.engines.model import Mount
from jupyter_mlenv.errors import PresetInvalid, PresetNotFound
from jupyter_mlenv.planning import recipe
from jupyter_mlenv.planning.model import ImagePlan
from jupyter_mlenv.presets.document import read, schema
from jupyter_mlenv.presets.model import BuiltImage, HostImage, Preset, PulledImage
from jupyter_mlenv.settings import Settings

CATALOG = Path(presets.__file__).parent / "catalog"
HOST = "[image]\nhost = true\n"


def parse(text: str) -> Preset:
    return presets.parse(text, file="team.toml", directory="/presets")


def settings(*folders: Path) -> Settings:
    return Settings(
        owner="me",
        uid=1000,
        gid=1000,
        username="ann",
        run_root="/nonexistent",
        preset_paths=tuple(map(str, folders)),
    )


def fails(text: str) -> PresetInvalid:
    with pytest.raises(PresetInvalid) as caught:
        parse(text)
    return caught.value


def test_everything_a_preset_can_say() -> None:
    preset = parse(
        """
        schema = 1
        name = "team"
        title = "Team"
        description = "Ours."
        icon = "python"
        gpu = true
        twin = "team-cpu"
        order = 5
        network = "lab"

        [image]
        base = "registry.test:5000/base:1"
        apt = ["git"]
        pip = ["pandas>=2"]
        requirements = "requirements.txt"

        [resources]
        memory = "1.5g"
        shm = "512 MiB"
        cpus = 2
        pids = 100
        gpus = 2

        [[mounts]]
        source = "~/data"
        target = "/data"
        read_only = true

        [[mounts]]
        source = "shared"

        [env]
        MODE = "fast"

        [endpoints.tensorboard]
        timeout = 5

        [endpoints.mlflow]
        command = ["mlflow", "ui", "--port", "{port}"]

        [kernel]
        preload = ["torch"]
        fork = false
        """
    )
    assert (preset.name, preset.title, preset.gpu, preset.twin, preset.network) == (
        "team",
        "Team",
        True,
        "team-cpu",
        "lab",
    )
    assert preset.image.base == "registry.test:5000/base:1"
    assert preset.image.requirements == "/presets/requirements.txt"
    assert preset.image.add_jupyter
    assert preset.resources.memory == 1536 * 1024**2
    assert preset.resources.shm == 512 * 1024**2
    assert preset.resources.gpus == GpuRequest(2)
    assert preset.mounts == (
        Mount(str(Path("~/data").expanduser()), "/data", read_only=True),
        Mount("/presets/shared", "/presets/shared"),
    )
    endpoints = {endpoint.name: endpoint for endpoint in preset.endpoints}
    assert endpoints["tensorboard"].timeout == 5
    assert endpoints["tensorboard"].command[1].endswith("tensorboard_process/main.py")
    assert endpoints["mlflow"].title == "Mlflow"
    assert preset.kernel.preload == ("torch",)
    assert not preset.kernel.fork


def test_a_default_endpoint_can_be_taken_away() -> None:
    assert [e.name for e in parse(HOST + "[endpoints.tensorboard]\nenabled = false").endpoints] == ["notebook"]


@pytest.mark.parametrize(
    ("text", "field", "line", "says"),
    [
        (HOST + '[resources]\nmemory = "lots"', "resources.memory", 4, 'must be a size such as "8g"'),
        (HOST + "[resources]\n\n# a comment\ncpus = 0", "resources.cpus", 6, "must be a number of cores"),
        (HOST + "[resources]\ngpus = -1", "resources.gpus", 4, "must be"),
        ('name = "My Preset"\n' + HOST, "name", 1, "must be a name of up to 32 small letters"),
        ('[image]\nbase = "x"\npip = ["a",\n  3]', "image.pip[1]", 3, "must be a package name, got 3"),
        (HOST + '[[mounts]]\nsource = "a"\n[[mounts]]\ntarget = "b"', "mounts[1].source", 5, "is missing"),
        (HOST + '[[mounts]]\nsource = "a"\ntarget = "b"', "mounts[0].target", 5, "must be an absolute path"),
        (HOST + '[env]\n"a b" = "x"', "env.a b", 4, "must be a variable name"),
        (HOST + "[endpoints.Big]", "endpoints.Big", 3, "must be a name of small letters"),
        (HOST + '[endpoints.web]\ntitle = "Web"', "endpoints.web.command", 3, "is missing"),
        (HOST + "[endpoints.web]\ncommand = []", "endpoints.web.command", 4, "must be a list of program"),
        ("schema = 2\n" + HOST, "schema", 1, "must be 1, got 2"),
        (HOST + 'base = "x"', "image.base", 3, "cannot be set together with `host`"),
        (HOST + 'pip = ["x"]', "image.pip", 3, "works only with `base`"),
        ('[image]\nhost = true\n[kernel]\nspec = "ir"\nargv = ["R", "{connection_file}"]', "kernel.argv", 5, "`spec`"),
        ('[image]\ndockerfile = "D"\nadd_jupyter = true', "image.add_jupyter", 3, "does not work with `dockerfile`"),
        ('title = "x"', "image", 1, "must say where the image comes from"),
        (HOST + '[[mounts]]\nsource = "/usr/lib"', "mounts[0]", 3, "cannot be mounted at /usr/lib"),
        (HOST + 'resources.memory = "x"', "image.resources", 3, "is not a known setting"),
        ('resources.memory = "x"\n' + HOST, "resources.memory", 1, "must be a size"),
        ('description = """\nmemory = 3\n"""\n' + HOST + "[resources]\nmemory = -3", "resources.memory", 7, "must be"),
    ],
)
def test_errors_say_file_line_field_and_what_is_allowed(text: str, field: str, line: int, says: str) -> None:
    error = fails(text)
    assert error.details["field"] == field
    assert error.details["line"] == line
    assert error.details["file"] == "team.toml"
    assert f"`{field}` in team.toml line {line}" in error.message
    assert says in error.message


def test_an_unknown_setting_names_the_nearest() -> None:
    error = fails("[image]\nbse = 'x'")
    assert error.hint == "Did you mean base?"
    assert "reference" in error.details["allowed"]


@pytest.mark.parametrize(("text", "line"), [("[image", 1), ("a = 1\nb = x", 2), ("a = 1\na = 2", 2), ('a = """\n', 1)])
def test_broken_toml_says_where(text: str, line: int) -> None:
    error = fails(text)
    assert error.details == {"file": "team.toml", "line": line}
    assert "no valid TOML" in error.message


def test_first_wins_and_a_broken_file_hides_nothing(tmp_path: Path) -> None:
    mine, system, workspace = tmp_path / "mine", tmp_path / "system", tmp_path / "work"
    for folder in (mine, system, workspace):
        folder.mkdir()
    (mine / "team.toml").write_text('title = "Mine"\n' + HOST)
    (mine / "broken.toml").write_text("name = ")
    (mine / "not-unicode.toml").write_bytes(b"\xff")
    (system / "team.toml").write_text('title = "System"\n' + HOST)
    (system / "python.toml").write_text('title = "Our Python"\n' + HOST)
    (workspace / "mlenv.toml").write_text(HOST)

    found, errors = presets.load(settings(mine, tmp_path / "missing", system), str(workspace))
    titles = {preset.name: preset.title for preset in found}
    assert titles["team"] == "Mine"
    assert titles["python"] == "Our Python"
    assert titles["project"] == "Project"
    assert {preset.name for preset in presets.catalog()} <= set(titles)
    assert found[0].name == "project"
    assert {Path(str(error.details["file"])).name for error in errors} == {"broken.toml", "not-unicode.toml"}


def test_tiles_stand_in_the_order_that_their_files_say(tmp_path: Path) -> None:
    """A person's own first, and each may say otherwise; what it extends does not say it for it."""
    (tmp_path / "last.toml").write_text(f"order = 1000\n{HOST}")
    (tmp_path / "own.toml").write_text('extends = "jax"\n')
    (tmp_path / "second.toml").write_text(f"order = 15\n{HOST}")
    names = [preset.name for preset in presets.load(settings(tmp_path))[0]]
    catalog = ["python", "docker-ml", "pytorch", "pytorch-cuda", "tensorflow", "tensorflow-cuda", "jax", "jax-cuda"]
    assert names == ["own", "host", "second", *catalog, "anaconda", "cuda", "scipy-notebook", "last"]
    assert fails(f'order = "first"\n{HOST}').message.endswith('a whole number from -1000 to 1000, got "first".')


def test_where_a_tile_stands_makes_no_environment_outdated() -> None:
    image = ImagePlan("pull", "x:1")
    assert recipe.digest(parse(f"order = 7\n{HOST}"), image) == recipe.digest(parse(HOST), image)


def test_find_suggests_and_says_what_is_broken(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("name = ")
    found, errors = presets.load(settings(tmp_path))
    with pytest.raises(PresetNotFound) as caught:
        presets.find("pyhton", found, errors)
    assert caught.value.hint == 'Did you mean "python"?'
    with pytest.raises(PresetInvalid) as broken:
        presets.find("broken", found, errors)
    assert broken.value is errors[0]


def test_a_hidden_broken_file_breaks_nothing(tmp_path: Path) -> None:
    """The system's `team` is broken; the person's own is not, and is what `team` means."""
    mine, system = tmp_path / "mine", tmp_path / "system"
    mine.mkdir()
    system.mkdir()
    (mine / "team.toml").write_text(HOST)
    (system / "team.toml").write_text("name = ")
    found, errors = presets.load(settings(mine, system))
    assert len(errors) == 1
    assert presets.find("team", found, errors).source == str(mine / "team.toml")


def test_extends_appends_lists_and_merges_tables() -> None:
    preset = parse(
        'extends = "pytorch"\n[image]\npip = ["torch", "lightning"]\n[resources]\nmemory = "1g"\n[env]\nA = "b"'
    )
    base = presets.find("pytorch", presets.catalog())
    assert preset.image.pip == (*base.image.pip, "lightning")
    assert preset.image.base == base.image.base
    assert preset.resources.memory == 1024**3
    assert preset.resources.shm == base.resources.shm
    assert preset.description == base.description
    assert (preset.name, preset.twin) == ("team", "")


def test_another_way_to_the_image_replaces_the_old_one() -> None:
    preset = parse('extends = "python"\n[image]\nreference = "x:1"')
    assert preset.image == PulledImage("x:1")


def test_extends_finds_the_persons_presets_and_the_one_it_hides(tmp_path: Path) -> None:
    (tmp_path / "python.toml").write_text('extends = "python"\n[image]\npip = ["polars"]')
    (tmp_path / "team.toml").write_text('extends = "python"\n[image]\npip = ["mine"]')
    found, errors = presets.load(settings(tmp_path))
    assert errors == []
    assert presets.find("team", found).image.pip[-2:] == ("polars", "mine")


@pytest.mark.parametrize("other", ["loop", "nowhere"])
def test_extends_of_nothing_and_in_circles(tmp_path: Path, other: str) -> None:
    (tmp_path / "ring.toml").write_text(f'extends = "{other}"')
    (tmp_path / "loop.toml").write_text('extends = "ring"')
    _, errors = presets.load(settings(tmp_path))
    assert {str(error.details["field"]) for error in errors} == {"extends"}
    assert len(errors) == 2


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('[[mounts]]\nsource = "~/.ssh"\ntarget = "/keys"', "mounts[0].source"),
        ('[[mounts]]\nsource = "/"\ntarget = "/all"', "mounts[0].source"),
        ('[[mounts]]\nsource = "../other"\ntarget = "/x"', "mounts[0].source"),
        ('[[mounts]]\nsource = "link"\ntarget = "/x"', "mounts[0].source"),
        ('network = "host"', "network"),
    ],
)
def test_a_cloned_repository_reaches_nothing_outside(tmp_path: Path, text: str, field: str) -> None:
    workspace = tmp_path / "work"
    workspace.mkdir()
    (workspace / "link").symlink_to(tmp_path)
    (workspace / "mlenv.toml").write_text(text + "\n" + HOST)
    found, errors = presets.load(settings(), str(workspace))
    assert "project" not in {preset.name for preset in found}
    assert [error.details["field"] for error in errors] == [field]
    assert "cloned repository" in errors[0].message


@pytest.mark.parametrize("key", ["dockerfile", "context", "requirements"])
def test_a_cloned_repository_builds_from_nothing_outside(tmp_path: Path, key: str) -> None:
    workspace = tmp_path / "work"
    workspace.mkdir()
    kind = 'base = "x"' if key == "requirements" else "" if key == "dockerfile" else 'dockerfile = "Dockerfile"'
    (workspace / "mlenv.toml").write_text(f'[image]\n{kind}\n{key} = "../secret"')
    _, errors = presets.load(settings(), str(workspace))
    assert [error.details["field"] for error in errors] == [f"image.{key}"]


def test_a_cloned_repository_borrows_no_mounts(tmp_path: Path) -> None:
    mine, workspace = tmp_path / "mine", tmp_path / "work"
    mine.mkdir()
    workspace.mkdir()
    (mine / "data.toml").write_text('extends = "host"\n[[mounts]]\nsource = "~/data"')
    (workspace / "mlenv.toml").write_text('extends = "data"')
    _, errors = presets.load(settings(mine), str(workspace))
    assert [error.details["field"] for error in errors] == ["extends"]


def test_a_project_may_build_from_itself(tmp_path: Path) -> None:
    (tmp_path / "mlenv.toml").write_text('[image]\ndockerfile = "docker/Dockerfile"')
    found, errors = presets.load(settings(), str(tmp_path))
    assert errors == []
    assert found[0].image.dockerfile == str(tmp_path / "docker/Dockerfile")


def test_a_project_mounts_nothing_of_itself(tmp_path: Path) -> None:
    """Code in a container could make a link of the folder, and the next start would mount where it leads."""
    (tmp_path / "data").mkdir()
    (tmp_path / "mlenv.toml").write_text('[image]\nhost = true\n[[mounts]]\nsource = "data"\ntarget = "/data"')
    _, errors = presets.load(settings(), str(tmp_path))
    assert [error.details["field"] for error in errors] == ["mounts[0].source"]
    assert "mounted already" in errors[0].message


@pytest.mark.parametrize("path", sorted(CATALOG.glob("*.toml")), ids=lambda path: path.stem)
def test_the_catalog_follows_the_published_schema(path: Path) -> None:
    """What ships is not validated when it is read, so it is here."""
    read(path.read_text("utf-8"), path.name)


def test_the_catalog_is_complete_and_consistent() -> None:
    found = {preset.name: preset for preset in presets.catalog()}
    assert list(found)[:2] == ["host", "python"]
    wanted = {"host", "python", "docker-ml", "pytorch", "tensorflow", "jax", "cuda", "anaconda", "scipy-notebook"}
    assert wanted | {"pytorch-cuda", "tensorflow-cuda", "jax-cuda"} == set(found)
    for preset in found.values():
        assert len(preset.title) <= 24
        assert preset.description
        assert "\n" not in preset.description
        assert preset.gpu == (preset.resources.gpus == EVERY)
        match preset.image:
            case BuiltImage(base=image) | PulledImage(reference=image):
                assert ":" in image, f"{preset.name} pins no tag"
                assert not image.endswith(":latest"), f"{preset.name} pins no tag"
            case other:
                assert other == HostImage()
        if preset.gpu:
            assert not found[preset.twin].gpu


def test_the_schema_is_valid_and_describes_every_setting() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    for file in CATALOG.glob("*.toml"):
        read(file.read_text(), file.name)

    def walk(rule: object) -> None:
        if isinstance(rule, dict):
            for name, inner in rule.get("properties", {}).items():
                assert inner.get("description"), f"{name} has no description"
            for inner in rule.values():
                walk(inner)

    walk({**schema()["properties"], "$defs": {}})
    json.dumps(schema())


def test_the_examples_of_the_document_are_valid() -> None:
    page = Path(presets.__file__).parents[2] / "docs" / "presets.md"
    blocks = page.read_text().split("```toml\n")[1:]
    assert len(blocks) >= 4
    for block in blocks:
        assert parse(block.split("```")[0]).name
