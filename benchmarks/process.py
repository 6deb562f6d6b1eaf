"""An implementation at work in a process of its own, waiting for orders."""

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from typing import Any, Self

from benchmarks.peers import Installed
from benchmarks.work import Work
from jax_ppo.app.errors import AppError

CACHE = "JAX_COMPILATION_CACHE_DIR"
"""Environment variable that would let an adapter find what another has compiled."""


class Adapter:
    """A running adapter; between orders it waits for input and takes no time of a processor."""

    def __init__(
        self,
        installed: Installed,
        work: Work,
        limit: float,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Start an adapter and wait until it is ready.

        Args:
            installed: The implementation.
            work: What it is to train; it is given its share.
            limit: Seconds that any answer may take.
            variables: Environment variables to set for it.

        Raises:
            AppError: It ended or did not answer in time; the message has its last words.
        """
        self.name = installed.name
        self.limit = limit
        self._complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            _command(installed, work),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
            env=_environment(installed, variables or {}),
        )
        self.hello = self._read()

    def ask(self, order: str) -> dict[str, Any]:
        """Give an order and wait for the answer.

        Raises:
            AppError: The adapter ended or did not answer in time.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{order}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise AppError(self._end()) from None
        return self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._complaints.close()

    def _read(self) -> dict[str, Any]:
        """The next line that is an answer: libraries may print before an adapter prevents it."""
        assert self._process.stdout is not None
        timer = threading.Timer(self.limit, self._process.kill)
        timer.start()
        try:
            for line in self._process.stdout:
                if line.startswith("{"):
                    return json.loads(line)
        finally:
            timer.cancel()
        raise AppError(self._end())

    def _end(self) -> str:
        """Close, and say why there is no answer: with the last that the adapter complained of."""
        status = self._process.wait()
        self._complaints.seek(0)
        lines = [line.strip() for line in self._complaints if line.strip()]
        self.close()
        if status == -signal.SIGKILL:
            return f"{self.name} was killed, by the system or after --limit = {self.limit:g} s"
        return f"{self.name} ended with status {status}: {' / '.join(lines[-3:])}"


def _command(installed: Installed, work: Work) -> list[str]:
    """What starts an adapter."""
    command = [
        str(installed.python),
        str(installed.implementation.adapter),
        installed.implementation.share_of(work).to_json(),
        *("--started", repr(time.time())),
    ]
    if installed.checkout is not None:
        command += ["--checkout", str(installed.checkout)]
    return command


def _environment(installed: Installed, variables: Mapping[str, str]) -> dict[str, str]:
    """Environment variables as here, without what could lead to other packages."""
    kept = {name: x for name, x in os.environ.items() if name not in ("PYTHONPATH", CACHE)}
    if installed.tree is not None:
        kept["PYTHONPATH"] = str(installed.tree)
    return {**kept, **variables}
