"""What listens in an environment is read as Linux writes it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from jupyter_mlenv.agent import listeners
from jupyter_mlenv.agent_client import ports

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue\n"


def words(address: bytes) -> str:
    """As the kernel of this machine writes an address."""
    parts = [address[start : start + 4] for start in range(0, len(address), 4)]
    return "".join(f"{int.from_bytes(part, sys.byteorder):08X}" for part in parts)


def table(folder: Path, name: str, *rows: tuple[bytes, int, str]) -> str:
    first = 200 if name == "tcp6" else 100
    lines = [
        f" {n}: {words(a)}:{port:04X} 00000000:0000 {state} 0:0 00:0 0 1000 0 {n} 1\n"
        for n, (a, port, state) in enumerate(rows, first)
    ]
    (folder / name).write_text(HEAD + "".join(lines))
    return str(folder / name)


@pytest.fixture
def tables(tmp_path: Path) -> tuple[str, str]:
    own, loopback, every = bytes([172, 17, 0, 2]), bytes([127, 0, 0, 1]), bytes(4)
    four = table(tmp_path, "tcp", (own, 8007, "0A"), (loopback, 8001, "0A"), (every, 80, "0A"), (own, 9000, "01"))
    six = table(tmp_path, "tcp6", (bytes(15) + b"\x01", 8007, "0A"), (bytes(16), 443, "0A"))
    return four, six


@pytest.mark.parametrize(
    ("port", "found"),
    [
        (8007, ["172.17.0.2", "::1"]),
        (8001, ["127.0.0.1"]),
        (80, ["127.0.0.1"]),
        (443, ["::1"]),
        (9000, []),  # connected, and does not listen
        (8002, []),
    ],
)
def test_the_addresses_of_a_port(tables: tuple[str, str], port: int, found: list[str]) -> None:
    assert listeners.addresses(port, tables) == found


def test_without_ipv6_there_is_one_table_only(tables: tuple[str, str], tmp_path: Path) -> None:
    assert listeners.addresses(8007, (tables[0], str(tmp_path / "none"))) == ["172.17.0.2"]


def process(proc: Path, pid: int, argv: list[str], *inodes: int) -> None:
    (proc / str(pid) / "fd").mkdir(parents=True)
    (proc / str(pid) / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in argv))
    for number, inode in enumerate(inodes, 3):
        (proc / str(pid) / "fd" / str(number)).symlink_to(f"socket:[{inode}]")


def test_ports_have_the_names_of_their_programs(tmp_path: Path, tables: tuple[str, str]) -> None:
    proc = tmp_path / "proc"
    connection = tmp_path / "kernel-1.json"
    connection.write_text(json.dumps({"shell_port": 80, "hb_port": 443, "ip": "127.0.0.1"}))
    process(proc, 10, ["/usr/bin/python3", "/usr/local/bin/streamlit", "run", "app.py"], 100)
    process(proc, 11, ["python", "-m", "ipykernel_launcher", "-f", str(connection)], 102)  # its clients' port
    process(proc, 12, ["sh"])
    (proc / "self").mkdir()
    assert listeners.ports(set(), str(proc), tables) == [{"port": 8007, "name": "streamlit"}]
    # 8001 belongs to nobody in here, as what runs outside where the network is the machine's.
    process(proc, 13, ["/opt/tool", "--serve"], 101)
    assert listeners.ports({8007}, str(proc), tables) == [{"port": 8001, "name": "tool"}]


def test_whatever_a_program_is_called_with_does_no_harm(tmp_path: Path, tables: tuple[str, str]) -> None:
    """Files that never end, are huge, or hold something else; names that are none."""
    proc = tmp_path / "proc"
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "deep.json").write_text("[" * 10_000)
    (tmp_path / "text.json").write_text('{"shell_port": "x", "hb_port": [1]}')
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(1 << 40)
    files = [str(tmp_path / f"{name}.json") for name in ("pipe", "list", "deep", "huge", "none", "text")]
    process(proc, 10, ["evil\n\x1b[2Jname" + "x" * 5000, *files], 100)
    [found] = listeners.ports(set(), str(proc), tables)
    assert found["port"] == 8007
    assert ports.read({"ports": [found]}) == [ports.ListeningPort(8007, found["name"])]


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["python3", "-m", "http.server", "8000"], "http.server"),
        (["/opt/conda/bin/python3.12", "-u", "app/main.py"], "main.py"),
        (["python", "-c", "import x"], "python"),
        (["node", "server.js"], "node"),
        (["python", "/opt/jupyter-mlenv/mlenv_agent/kernel_process/launch.py"], "a kernel"),
        ([], ""),
    ],
)
def test_a_program_is_called_as_a_person_calls_it(argv: list[str], name: str) -> None:
    assert listeners.program(argv) == name
