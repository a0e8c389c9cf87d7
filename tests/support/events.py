"""Event files as a training loop writes them, without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def write_scalars(folder: Path, tag: str, values: Sequence[float]) -> None:
    """One scalar per step, starting at step 0."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    for step, value in enumerate(values):
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
        writer.add_event(Event(step=step, wall_time=1_700_000_000 + step, summary=summary))
    writer.close()
