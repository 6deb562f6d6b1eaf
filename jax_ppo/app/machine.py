"""What a result was made with: versions and machine."""

import hashlib
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


def processor_features() -> str:
    """A short name for the kind of processor: a digest of its architecture and features."""
    lines = [line for line in _cpuinfo() if line.startswith(("flags", "Features"))]
    features = lines[0] if lines else platform.processor()
    return hashlib.sha256(f"{platform.machine()} {features}".encode()).hexdigest()[:12]


def _version(package: str) -> str | None:
    """A package's version, if it is installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """The processor's model name where the system gives it."""
    names = [line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _cpuinfo() -> list[str]:
    """What Linux says of the processor; nothing on other systems."""
    try:
        return Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
