"""Metrics as TensorBoard events: one curve per metric and seed, against environment steps."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary

from jax_ppo.app.history import INDEX
from jax_ppo.app.runs import remove_folder

MAX_SEEDS = 64
"""Each seed keeps a file open, so that beyond this many only metrics.jsonl has them all."""


class EventLog:
    """Event files in a folder per seed, written anew each time the log is opened.

    They hold nothing that metrics.jsonl does not, so a run that is resumed writes them again from
    there rather than mending files that a crash may have cut short.
    """

    def __init__(self, folder: Path) -> None:
        """Start with an empty folder."""
        remove_folder(folder)
        self._folder = folder
        self._writers: dict[int, EventsWriter] = {}

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Append rows of metrics; entries that are no number (no episode ended) are left out."""
        for row in rows:
            if row["seed"] not in self._writers and len(self._writers) == MAX_SEEDS:
                continue
            values = [
                Summary.Value(tag=name, simple_value=value)
                for name, value in row.items()
                if name not in INDEX and value is not None and value == value
            ]
            event = Event(wall_time=time.time(), step=row["steps"], summary=Summary(value=values))
            self._writer(row["seed"]).write_event(event)
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, seed: int) -> EventsWriter:
        if seed not in self._writers:
            folder = self._folder / f"seed_{seed}"
            folder.mkdir(parents=True)
            self._writers[seed] = EventsWriter(str(folder / "events"))
        return self._writers[seed]
