"""Metrics as TensorBoard events: one curve per metric and seed, against environment steps."""

import importlib.util
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jax_ppo.app.history import INDEX
from jax_ppo.app.runs import remove_folder

MAX_SEEDS = 64
"""Each seed keeps a file open, so that beyond this many only metrics.jsonl has them all."""


class EventLog:
    """Event files in a folder per seed, written anew each time that `begin` is called.

    They hold nothing that metrics.jsonl does not, so a run that is resumed writes them again from
    there: a crash may have truncated the old files. Without tensorboardX nothing is written.
    """

    def __init__(self, folder: Path) -> None:
        """Nothing is written before `begin`."""
        self._folder = folder
        self._writers: dict[int, Any] = {}
        self._available = importlib.util.find_spec("tensorboardX") is not None

    def begin(self) -> None:
        """Start with an empty folder."""
        remove_folder(self._folder)

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Append rows of metrics; entries that are not a number (no episode ended) are left out."""
        if not self._available:
            return
        # It imports PyTorch where that is installed, which takes more than a second: no command
        # but training should wait for it.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        for row in rows:
            if row["seed"] not in self._writers and len(self._writers) == MAX_SEEDS:
                continue
            values = [
                Summary.Value(tag=name, simple_value=value)
                for name, value in row.items()
                if name not in INDEX and value is not None and value == value
            ]
            event = Event(wall_time=time.time(), step=row["steps"], summary=Summary(value=values))
            if row["seed"] not in self._writers:
                folder = self._folder / f"seed_{row['seed']}"
                folder.mkdir(parents=True)
                self._writers[row["seed"]] = EventsWriter(str(folder / "events"))
            self._writers[row["seed"]].write_event(event)
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()
