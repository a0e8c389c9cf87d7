"""Generated Dockerfiles: what is in them, what never is, and what an earlier image saves."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from jupyter_mlenv.planning import dockerfile, user_dockerfile
from jupyter_mlenv.planning.dockerfile import ImageRequest, step_text

KIT = Path(dockerfile.__file__).parent / "build_scripts"
REQUEST = ImageRequest("base:1", pip=("numpy", "pandas"))


def runs(text: str) -> list[str]:
    return [step.replace("\\\n", " ") for step in text.split("\nRUN ")[1:]]


def test_one_layer_a_group_and_the_doors_first() -> None:
    steps = runs(dockerfile.render(REQUEST, [("numpy",), ("pandas",)]))
    assert len(steps) == 3
    assert "jupyterlab" in steps[0]
    assert "numpy" not in steps[0]
    assert "numpy" in steps[1]
    assert "pandas" not in steps[1]
    # The request of the earlier group stays a constraint of the later one.
    assert "numpy pandas" in steps[2]


def test_presets_on_one_base_share_the_doors() -> None:
    one = dockerfile.recipe(REQUEST, "a").dockerfile
    other = dockerfile.recipe(
        ImageRequest("base:1", pip=("torch",), pip_index="https://x.test/cpu", apt=("git",)), "b"
    ).dockerfile
    assert one.split("\nRUN ")[:2] == other.split("\nRUN ")[:2]
    assert "x.test" not in other, "an index may hold a password, and everybody may read a history"


@pytest.mark.parametrize(
    ("requested", "previous", "groups"),
    [
        (["a", "b"], [], (("a", "b"),)),
        (["a", "b", "c"], [["a", "b"]], (("a", "b"), ("c",))),
        (["a", "b", "c", "d"], [["a"], ["b", "c"]], (("a",), ("b", "c"), ("d",))),
        (["a", "c"], [["a"], ["b"], ["c"]], (("a",), ("c",))),
        (["a>=2"], [["a"]], (("a>=2",),)),
        (["a", "a"], [], (("a",),)),
        ([], [["a"]], ()),
    ],
)
def test_groups(requested: list[str], previous: list[list[str]], groups: tuple[tuple[str, ...], ...]) -> None:
    assert dockerfile.groups_for(requested, previous) == groups


def test_an_earlier_image_lends_its_layers() -> None:
    small = dockerfile.recipe(REQUEST, "python")
    unrelated = dockerfile.recipe(replace(REQUEST, base="other:1"), "x")
    more = replace(REQUEST, pip=("seaborn", *REQUEST.pip))
    fresh = dockerfile.recipe(more, "python")
    later = dockerfile.recipe(
        more, "python", earlier=[unrelated.labels, small.labels, {}, {"jupyter-mlenv.groups": "?"}]
    )
    assert later.dockerfile.startswith(small.dockerfile.rstrip("\n"))
    assert not fresh.dockerfile.startswith(small.dockerfile.rstrip("\n"))
    # The tag says what is in the image, whichever layers it came from: a second start finds it.
    assert later.tag == fresh.tag
    assert dockerfile.recipe(more, "python", earlier=[later.labels]).dockerfile == later.dockerfile


def test_the_tag_follows_the_content() -> None:
    tags = {
        dockerfile.recipe(request, "p").tag
        for request in (
            REQUEST,
            replace(REQUEST, base="base:2"),
            replace(REQUEST, pip=("numpy",)),
            replace(REQUEST, apt=("git",)),
            replace(REQUEST, add_jupyter=False),
            replace(REQUEST, requirements="--hash x"),
            replace(REQUEST, pip_index="https://x.test"),
            replace(REQUEST, python="/opt/python"),
        )
    }
    assert len(tags) == 8
    assert dockerfile.recipe(replace(REQUEST, pip=("pandas", "numpy")), "p").tag in tags


def test_odd_specifications_are_quoted() -> None:
    text = dockerfile.render(
        ImageRequest("b", pip=()), [("pandas[excel]>=2,<3", "x @ https://h.test/a?b&c", "a; sys_platform=='linux'")]
    )
    command = runs(text)[1].split("install.sh ")[1]
    words = subprocess.run(["sh", "-c", f'printf "%s\\n" {command}'], capture_output=True, text=True, check=True).stdout
    assert words.splitlines()[-3:] == ["pandas[excel]>=2,<3", "x @ https://h.test/a?b&c", "a; sys_platform=='linux'"]


def test_the_classic_form_has_no_mounts_and_cleans_up() -> None:
    text = dockerfile.render(REQUEST, [("numpy",)], buildkit=False)
    assert "--mount" not in text
    assert "COPY .mlenv" in text
    assert text.rstrip().splitlines()[-1].startswith("RUN rm -rf")


def test_plain_requirements_become_packages() -> None:
    assert dockerfile.fold_requirements("# c\nnumpy>=2  # why\n\nx[y]==1 ; python_version<'3.13'\n") == (
        ("numpy>=2", "x[y]==1 ; python_version<'3.13'"),
        "",
    )


@pytest.mark.parametrize(
    "text", ["-r more.txt", "--index-url https://x", "numpy==1 --hash=sha256:00", "numpy==1 \\\n  --hash=x", "./local"]
)
def test_other_requirements_stay_a_file(text: str) -> None:
    assert dockerfile.fold_requirements(text) == ((), text)
    recipe = dockerfile.recipe(ImageRequest("b", requirements=text), "p")
    assert "-r /dev/mlenv/kit/requirements.txt" in recipe.dockerfile
    assert {"path": ".mlenv/requirements.txt", "data": text.encode()} in [
        {"path": file.path, "data": file.data} for file in recipe.files
    ]


def test_settings_with_credentials_only_travel_in_the_context() -> None:
    text = dockerfile.env_file(
        True,
        {"https_proxy": "http://u:p'w@proxy.test"},
        {"PIP_INDEX_URL": "https://u:secret@x.test", "BAD NAME": "$(touch /tmp/x)"},
    )
    names = ("HTTPS_PROXY", "https_proxy", "UV_DEFAULT_INDEX", "PIP_INDEX_URL", "SSL_CERT_FILE")
    script = f"kit=/k\n{text}\n" + "".join(f'printf "%s|" "${name}"\n' for name in names)
    shown = subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=True, env={}).stdout
    proxy, index = "http://u:p'w@proxy.test", "https://u:secret@x.test"
    assert shown == f"{proxy}|{proxy}|{index}|{index}|/k/ca.pem|"
    assert "BAD" not in text


def test_labels_of_others_are_ignored() -> None:
    for label in ("", "?", "[" * 200_000, "{}", '["a"]', "[1]", "null"):
        assert dockerfile.parse_groups(label) == ()
    assert dockerfile.parse_groups('[["a", "b"]]') == (("a", "b"),)


def test_the_scripts_are_posix_shell() -> None:
    for name in ("install.sh", "apt.sh"):
        subprocess.run(["sh", "-n", str(KIT / name)], check=True)


def test_compile_leaves_only_tests_without_bytecode(tmp_path: Path) -> None:
    """In a venv of its own, as `site.getsitepackages` is what the script compiles."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "v")], check=True)
    site = next((tmp_path / "v" / "lib").glob("python*")) / "site-packages"
    for name, text in {
        "pkg/__init__.py": "",
        "pkg/tests/test_x.py": "",
        "pkg/bad.py": "def (",
        "old.py": "x = 1",
    }.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    script = shutil.copy(KIT / "compile.py", tmp_path)
    subprocess.run([tmp_path / "v" / "bin" / "python", script], check=True, env={**os.environ, "PYTHONPATH": ""})
    compiled = {(*path.relative_to(site).parts[:-2], path.name.split(".")[0]) for path in site.rglob("*.pyc")}
    assert compiled == {("pkg", "__init__"), ("old",)}


def test_a_persons_dockerfile_gets_nothing_of_ours_and_follows_what_it_copies(tmp_path: Path) -> None:
    text = (
        "FROM base:1 AS build\nCOPY --chown=1:1 requirements.txt \\\n  src/ /app/\nCOPY --from=build /x /y\nRUN make\n"
    )
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("1")
    (tmp_path / "requirements.txt").write_text("numpy")
    (tmp_path / ".dockerignore").write_text("**/*.log\n")

    def tag() -> str:
        return user_dockerfile.recipe("p", text, str(tmp_path), proxies={"http_proxy": "x"}).tag

    recipe = user_dockerfile.recipe(
        "p", text, str(tmp_path), args={"A": "b"}, proxies={"http_proxy": "x"}, target="build"
    )
    assert recipe.dockerfile == text
    assert recipe.files == ()
    assert recipe.args == {"A": "b", "http_proxy": "x"}
    assert recipe.target == "build"
    first = tag()
    (tmp_path / "result.csv").write_text("not copied")
    (tmp_path / "src" / "run.log").write_text("ignored")
    assert tag() == first
    (tmp_path / "src" / "a.py").write_text("22")
    assert tag() != first
    (tmp_path / ".dockerignore").write_text("*.log\n")  # by Docker's rules that is the top folder's only
    first = tag()
    (tmp_path / "src" / "run.log").write_text("and so this is copied")
    assert tag() != first


def test_what_a_dockerfile_copies_from_outside_of_its_context_is_not_even_looked_at(tmp_path: Path) -> None:
    """The engine refuses it, so nothing depends on it; `..` and links once led through the whole machine."""
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "out").symlink_to("..")
    (tmp_path / "context" / "absolute").symlink_to(tmp_path)
    (tmp_path / "context" / "in").symlink_to("data")
    (tmp_path / "context" / "data").mkdir()

    def digest(source: str) -> str:
        return user_dockerfile.context_digest(f"FROM x\nCOPY {source} /x\n", str(tmp_path / "context"))

    before = {source: digest(source) for source in ("../..", "../*", "out", "absolute", "out/*.txt", "in", "in/*")}
    (tmp_path / "other.txt").write_text("x")
    (tmp_path / "context" / "data" / "other.txt").write_text("x")
    assert [source for source in before if digest(source) != before[source]] == ["in", "in/*"]


def test_words_of_a_dockerfile_that_are_no_sources(tmp_path: Path) -> None:
    text = f'FROM x\nCOPY {"[" * 100_000}\nCOPY ["a b", "/x"]\nADD https://x.test/a /b\nCOPY [*a /y\n'
    first = user_dockerfile.context_digest(text, str(tmp_path))
    (tmp_path / "a b").write_text("x")
    assert user_dockerfile.context_digest(text, str(tmp_path)) != first


def test_the_files_of_an_image_are_told_by_name_size_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As JSON of the same form in every version: else all images would look outdated."""
    monkeypatch.setattr(user_dockerfile, "digest", lambda text: text)
    for name in ('a "b"', "ä", "data"):
        (tmp_path / name).write_text(name)
    told = user_dockerfile.context_digest("FROM x\nCOPY . /x\n", str(tmp_path))
    files = sorted((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in tmp_path.iterdir())
    assert told == json.dumps(files)
    assert user_dockerfile.context_digest("FROM x\n", str(tmp_path)) == "[]"


def test_a_look_at_many_files_gives_the_garbage_collector_nothing_to_look_at(tmp_path: Path) -> None:
    """Looking at one object for each of 200,000 files, it stops every thread for 50 ms."""
    for number in range(2000):
        (tmp_path / str(number)).touch()
    tracked: list[int] = []

    def count() -> None:
        gc.collect()
        tracked.append(len(gc.get_objects()))

    gc.freeze()  # what is there already is not looked at
    try:
        user_dockerfile.context_digest("FROM x\nCOPY . /x\n", str(tmp_path), pause=count)
    finally:
        gc.unfreeze()
    assert len(tracked) > 5
    assert tracked[-1] - tracked[0] < 500


@pytest.mark.parametrize("ignore", ["[z-a]\n", "a**" * 9 + "b\n", "x\n" * 10_001])
def test_a_plan_leaves_it_to_the_build_to_say_that_a_pattern_is_none(tmp_path: Path, ignore: str) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / ".dockerignore").write_text(ignore)
    assert user_dockerfile.context_digest("FROM x\nCOPY . /x\n", str(tmp_path))


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("[stage-0 3/4] RUN make  -j2", "RUN make -j2"),
        ("[2/4] RUN sh /dev/mlenv/kit/apt.sh git curl", "Installing Debian packages: git, curl"),
        ("RUN sh /k/install.sh python3 'jupyterlab>=4.2,<5' 'ipykernel>=6.29'", "Installing jupyterlab, ipykernel"),
        ("RUN sh /k/install.sh python3 'jupyterlab>=4.2,<5' numpy 'torch==2.4; x'", "Installing numpy, torch"),
        ("RUN sh /k/install.sh python3 --index https://i.test/x --index-strategy best torch", "Installing torch"),
        ("RUN sh /k/install.sh python3 -r /dev/mlenv/kit/requirements.txt", "Installing requirements.txt"),
        ("RUN sh /k/install.sh python3 numpy 'pan", "Installing numpy, 'pan"),
    ],
)
def test_a_step_is_told_in_words(step: str, words: str) -> None:
    assert step_text(step) == words
