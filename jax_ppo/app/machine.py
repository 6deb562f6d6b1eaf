"""What a result was made with: versions and machine."""

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("jax-ppo", "jax", "jaxlib", "flax", "optax", "gymnax", "gymnasium", "torch", "numpy")


def describe_machine() -> dict[str, Any]:
    """Python, system, processor, number of cores, and the versions of all that computes."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cpu_count": os.cpu_count(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    """A package's version, if it is installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """The processor's model name where the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), "")
