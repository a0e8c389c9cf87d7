"""What listens in an environment is read as Linux writes it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from jupyter_mlenv.agent import listeners

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue\n"


def words(address: bytes) -> str:
    """As the kernel of this machine writes an address."""
    parts = [address[start : start + 4] for start in range(0, len(address), 4)]
    return "".join(f"{int.from_bytes(part, sys.byteorder):08X}" for part in parts)


def table(folder: Path, name: str, *rows: tuple[bytes, int, str]) -> str:
    lines = [f" {n}: {words(a)}:{port:04X} 00000000:0000 {state} 0\n" for n, (a, port, state) in enumerate(rows)]
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
