"""Files of results: one per command, in a folder per device."""

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

RENAMED = {"num_seeds": "num_agents", "train_step": "update"}
"""Keys in files of earlier versions, and their names now."""


def default_folder() -> Path:
    """Folder of this machine's results: cpu-4 for four cores, or the name of the GPU."""
    kind = jax.devices()[0].device_kind
    name = f"cpu-{os.cpu_count()}" if kind == "cpu" else kind
    return Path(__file__).parent / "results" / re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def save(
    folder: Path,
    command: str,
    rounds: int,
    descriptions: Mapping[str, Any],
    found: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the results of a command, with the machine and the versions.

    Args:
        folder: Folder to write into; it is made if it does not exist.
        command: Name of the command and of the file.
        rounds: Number of measurements.
        descriptions: The description that each adapter gave of itself.
        found: Results, in dataclasses, lists and mappings.

    Returns:
        The content of the file, in lists and mappings.
    """
    content = {
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
        "rounds": rounds,
        "device": jax.devices()[0].device_kind,
        "flags": flags(),
        "machine": describe_machine(),
        "implementations": descriptions,
        **found,
    }
    plain = json.loads(json.dumps(content, default=dataclasses.asdict))
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{command}.json", plain)
    return plain


def load(folder: Path) -> dict[str, dict[str, Any]]:
    """The results in a folder, by command.

    Raises:
        AppError: There are no results, or a file cannot be read.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise AppError(f"there are no results in {folder}")
    try:
        contents = [json.loads(file.read_text(), object_hook=_renamed) for file in files]
        return {content["command"]: content for content in contents}
    except (ValueError, KeyError, TypeError) as error:
        raise AppError(f"the results in {folder} cannot be read: {error}") from error


def _renamed(entries: dict[str, Any]) -> dict[str, Any]:
    """The entries with the keys of this version."""
    return {RENAMED.get(name, name): entry for name, entry in entries.items()}
