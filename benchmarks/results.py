"""What was measured, as files: one per command in a folder per device."""

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax

from benchmarks.adapters.protocol import flags
from jax_ppo.app.errors import AppError
from jax_ppo.app.machine import describe_machine
from jax_ppo.app.runs import write_json


def default_folder() -> Path:
    """Where the results of this machine go: cpu-4 for four cores, or the name of the GPU."""
    kind = jax.devices()[0].device_kind
    name = f"cpu-{os.cpu_count()}" if kind == "cpu" else kind
    return Path(__file__).parent / "results" / re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def save(
    folder: Path, command: str, rounds: int, hellos: Mapping[str, Any], found: Mapping[str, Any]
) -> dict[str, Any]:
    """Write what a command found, with everything that it was found with.

    Args:
        folder: Where to; it is made if need be.
        command: Names the file.
        rounds: How often everything was measured.
        hellos: What each implementation said of itself.
        found: Results, in dataclasses, lists and mappings.

    Returns:
        What was written, in lists and mappings alone.
    """
    content = {
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
        "rounds": rounds,
        "device": jax.devices()[0].device_kind,
        "flags": flags(),
        "machine": describe_machine(),
        "implementations": hellos,
        **found,
    }
    plain = json.loads(json.dumps(content, default=dataclasses.asdict))
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{command}.json", plain)
    return plain


def load(folder: Path) -> dict[str, dict[str, Any]]:
    """The results in a folder, by command.

    Raises:
        AppError: There are none, or one cannot be read.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise AppError(f"there are no results in {folder}")
    try:
        contents = [json.loads(file.read_text()) for file in files]
        return {content["command"]: content for content in contents}
    except (ValueError, KeyError, TypeError) as error:
        raise AppError(f"the results in {folder} cannot be read: {error}") from error
