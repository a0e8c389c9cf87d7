"""Progress and logs from what the engine streams: pulls, BuildKit's protobuf messages, the classic builder's text."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_mlenv.engines.docker.buildkit import BuildKitProgress, fields
from jupyter_mlenv.engines.docker.calls import split_lines
from jupyter_mlenv.engines.docker.classic import ClassicProgress
from jupyter_mlenv.engines.docker.events import parse_event, since_text
from jupyter_mlenv.engines.docker.pull import PullProgress

# As an engine (20.10) sent them for `FROM scratch / COPY f /f / COPY gone /g`: both steps announced; then the first
# one served from the cache and the second one failed.
ANNOUNCED = (
    "CqMBCkdzaGEyNTY6OTVlYWU0N2NiNjU2ODdiYWVkMWU3NDYzN2ZmMmI2MWZiNzVmYTk1MzhjZjI1YTU4NDIzYmVmYWE0NDE2ZTkyMhJHc2hhMjU2"
    "OjI0OGMxYmUwOGNjMjgxOTc4YmJmYjhiNzI0YTM4ZjliZjBmZmQ2MzM5MTk4ZGM0MTUxNGQ1YzBmZjI3OTI1MDQaD1sxLzJdIENPUFkgZiAvZgrv"
    "AQpHc2hhMjU2OjM4MTAxMmZmZTFjNmI5MGFlODQ0OThjMjU3NmJhMWE5MzY4NTUwYWE4ZGQ3ODczMThmYjI2ZTE5ODA2ZjAyZWESR3NoYTI1Njo5"
    "NWVhZTQ3Y2I2NTY4N2JhZWQxZTc0NjM3ZmYyYjYxZmI3NWZhOTUzOGNmMjVhNTg0MjNiZWZhYTQ0MTZlOTIyEkdzaGEyNTY6MjQ4YzFiZTA4Y2My"
    "ODE5NzhiYmZiOGI3MjRhMzhmOWJmMGZmZDYzMzkxOThkYzQxNTE0ZDVjMGZmMjc5MjUwNBoSWzIvMl0gQ09QWSBnb25lIC9n"
)
FAILED = (
    "CsEBCkdzaGEyNTY6OTVlYWU0N2NiNjU2ODdiYWVkMWU3NDYzN2ZmMmI2MWZiNzVmYTk1MzhjZjI1YTU4NDIzYmVmYWE0NDE2ZTkyMhJHc2hhMjU2"
    "OjI0OGMxYmUwOGNjMjgxOTc4YmJmYjhiNzI0YTM4ZjliZjBmZmQ2MzM5MTk4ZGM0MTUxNGQ1YzBmZjI3OTI1MDQaD1sxLzJdIENPUFkgZiAvZiAB"
    "KgwI1/CF2AYQ0cjLowMyDAjX8IXYBhDRyMujAwqpAgpHc2hhMjU2OjM4MTAxMmZmZTFjNmI5MGFlODQ0OThjMjU3NmJhMWE5MzY4NTUwYWE4ZGQ3"
    "ODczMThmYjI2ZTE5ODA2ZjAyZWESR3NoYTI1Njo5NWVhZTQ3Y2I2NTY4N2JhZWQxZTc0NjM3ZmYyYjYxZmI3NWZhOTUzOGNmMjVhNTg0MjNiZWZh"
    "YTQ0MTZlOTIyEkdzaGEyNTY6MjQ4YzFiZTA4Y2MyODE5NzhiYmZiOGI3MjRhMzhmOWJmMGZmZDYzMzkxOThkYzQxNTE0ZDVjMGZmMjc5MjUwNBoS"
    "WzIvMl0gQ09QWSBnb25lIC9nKgwI1/CF2AYQ0cjLowMyDAjX8IXYBhCv3cujAzocIi9nb25lIiBub3QgZm91bmQ6IG5vdCBmb3VuZA=="
)


def trace(aux: str) -> dict[str, Any]:
    return {"id": "moby.buildkit.trace", "aux": aux}


def layer(id: str, status: str, current: int = 0, total: int = 0) -> dict[str, Any]:
    return {"id": id, "status": status, "progressDetail": {"current": current, "total": total} if total else {}}


def test_buildkit_steps_and_the_one_that_failed() -> None:
    progress = BuildKitProgress()
    assert progress.now().total == 0
    assert progress.feed(trace(ANNOUNCED)) == []
    assert (progress.now().current, progress.now().total, progress.now().unit) == (0, 3, "steps")
    assert progress.feed(trace(FAILED)) == ["CACHED [1/2] COPY f /f", "[2/2] COPY gone /g"]
    assert progress.now().current == 1
    assert progress.failed is not None
    assert (progress.failed.name, progress.failed.error) == ("[2/2] COPY gone /g", '"/gone" not found: not found')
    assert progress.feed({"id": "moby.image.id", "aux": {"ID": "sha256:1"}}) == []


@pytest.mark.parametrize("data", [b"\x0a\x05ab", b"\x08", b"\x08\xff", b"\x0b", b"\x09abc", b"\x08" + b"\xff" * 12])
def test_a_broken_protobuf_message_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="protobuf"):
        list(fields(data))


def test_protobuf_fields() -> None:
    # Field 1 varint 150 (the example of protobuf's own documentation), 2 bytes, 3 fixed64, 4 fixed32.
    data = b"\x08\x96\x01" + b"\x12\x07testing" + b"\x19" + bytes(8) + b"\x25" + bytes(4)
    assert list(fields(data)) == [(1, 150), (2, b"testing"), (3, bytes(8)), (4, bytes(4))]


def test_classic_steps_and_lines_cut_anywhere() -> None:
    progress = ClassicProgress()
    assert progress.now().total == 0
    lines = []
    for text in (
        "Step 1/2 : FR",
        "OM x\n",
        " ---> abc\n",
        "Step 2/2 : RUN y\n",
        "\x1b[91mred\x1b[0m\r\n10%\r20%\rdone",
        "\n",
    ):
        lines += progress.feed({"stream": text})
    assert lines == ["[1/2] FROM x", "[2/2] RUN y", "red", "10%", "20%", "done"]
    assert list(progress.tail) == ["red", "10%", "20%", "done"]
    assert (progress.now().current, progress.now().total, progress.now().message) == (1, 2, "RUN y")


def test_classic_pulls_its_base_on_the_way() -> None:
    progress = ClassicProgress()
    progress.feed({"stream": "Step 1/2 : FROM far.example/x\n"})
    progress.feed(layer("a", "Pulling fs layer"))
    progress.feed(layer("a", "Downloading", 50, 100))
    assert progress.now().message == "FROM far.example/x: downloading 1 of 1 layers"


def test_a_pull_knows_its_bytes() -> None:
    progress = PullProgress()
    assert progress.now().fraction is None
    assert progress.feed({"id": "latest", "status": "Pulling from library/x"}) == "latest: Pulling from library/x"
    for id in "ab":
        assert progress.feed(layer(id, "Pulling fs layer")) == ""
    assert progress.feed(layer("c", "Already exists")) == "c: Already exists"
    progress.feed(layer("a", "Downloading", 500, 1000))
    half = progress.now()
    assert (half.message, half.current, half.total) == ("Downloading 1 of 2 layers", 350, 2000)
    progress.feed(layer("b", "Downloading", 3000, 3000))
    progress.feed(layer("b", "Download complete"))
    progress.feed(layer("a", "Download complete"))
    assert progress.now().message == "Unpacking 1 of 2 layers"
    assert progress.now().current == 2800
    for id in "ab":
        progress.feed(layer(id, "Pull complete"))
    done = progress.now()
    assert (done.current, done.total, done.fraction) == (4000, 4000, 1.0)


def test_a_pull_never_goes_back_when_a_large_layer_turns_up() -> None:
    progress = PullProgress()
    shares = []
    for id in "abcd":
        progress.feed(layer(id, "Pulling fs layer"))
    for id, size in (("a", 10), ("b", 10), ("c", 10), ("d", 10_000)):
        for current in (0, size // 2, size):
            progress.feed(layer(id, "Downloading", current, size))
            shares.append(progress.now().fraction or 0.0)
        progress.feed(layer(id, "Download complete"))
        progress.feed(layer(id, "Extracting", size, size))
        progress.feed(layer(id, "Pull complete"))
        shares.append(progress.now().fraction or 0.0)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_pull_of_what_is_here_already_has_no_bytes() -> None:
    progress = PullProgress()
    progress.feed(layer("a", "Already exists"))
    assert progress.now().total == 0


def test_lines_are_whole_however_they_arrive() -> None:
    text = "caf\u00e9\nprogress 1\rprogress 2\r\n\nend"
    data = text.encode()
    for size in (1, 2, 3, 100):
        chunks = [data[at : at + size] for at in range(0, len(data), size)]
        assert list(split_lines(chunks)) == ["caf\u00e9", "progress 1", "progress 2", "", "end"]
    assert list(split_lines([b"\xff\xc3"])) == ["\ufffd\ufffd"]
    assert list(split_lines([])) == []


def test_events() -> None:
    attributes = {"jupyter-mlenv.id": "python-1", "exitCode": "137"}
    raw = {"Type": "container", "Action": "die", "Actor": {"ID": "c", "Attributes": attributes}, "timeNano": 5 * 10**9}
    event = parse_event(raw)
    assert event is not None
    assert (event.kind, event.environment, event.exit_code, event.time) == ("die", "python-1", 137, 5.0)
    assert parse_event({**raw, "Actor": {"ID": "c", "Attributes": {}}}) is None
    image = parse_event({"Type": "image", "Action": "pull", "Actor": {"ID": "x:1", "Attributes": {}}})
    assert image is not None
    assert image.kind == "image"
    assert since_text(1_700_000_000_000_000_009) == "1700000000.000000009"
