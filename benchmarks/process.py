"""An adapter in a process of its own, which trains on request."""

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
"""Environment variable with the folder of JAX's persistent compilation cache."""


class Adapter:
    """A running adapter; between requests it waits for input and uses no processor time."""

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
            work: The training, of which it does its part: `Implementation.share_of`.
            limit: Seconds that any answer may take.
            variables: Environment variables to set for it.

        Raises:
            AppError: It ended or did not answer in time; the message has its last lines of output.
        """
        self.name = installed.name
        self.limit = limit
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            _command(installed, work),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=_environment(installed, variables or {}),
        )
        self.description = self._read()

    def ask(self, request: str) -> dict[str, Any]:
        """Send a request, such as `run 0`, and wait for the answer.

        Raises:
            AppError: The adapter ended or did not answer in time.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{request}\n")
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
        self._errors.close()

    def _read(self) -> dict[str, Any]:
        """The next answer; lines that libraries print before `protocol.begin` are skipped."""
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
        """Close, and return an error message with the last lines of standard error."""
        status = self._process.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors if line.strip()]
        self.close()
        if status == -signal.SIGKILL:
            return f"{self.name} was killed, by the system or after --limit = {self.limit:g} s"
        return f"{self.name} ended with status {status}: {' / '.join(lines[-3:])}"


def _command(installed: Installed, work: Work) -> list[str]:
    """The command that starts an adapter."""
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
    """The environment variables of this process, without those of other packages and caches."""
    kept = {name: x for name, x in os.environ.items() if name not in ("PYTHONPATH", CACHE)}
    if installed.tree is not None:
        kept["PYTHONPATH"] = str(installed.tree)
    return {**kept, **variables}
