"""The implementations that can be measured, and where each is installed."""

import shlex
import subprocess
import sys
import venv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.work import Work
from jax_ppo.app.errors import AppError
from jax_ppo.config import unknown_name

ROOT = Path(__file__).parent.parent
"""The tree that holds jax_ppo and torch_ref."""

EAGER_STEPS = 5_000
"""Environment steps per run of an implementation that is not compiled; at least one update."""


@dataclass(frozen=True)
class Implementation:
    """One implementation of PPO."""

    name: str
    """Name, also of its adapter: with_NAME.py."""
    requirements: tuple[str, ...] = ()
    """Packages to install for it; empty: it runs in this environment."""
    repository: str = ""
    """Address of its source, if it is not published as a package."""
    jitted: bool = True
    """Whether JAX compiles the whole training; if not, it trains one agent at a time, step by step,
    on Gymnasium's environments."""
    adapters: Path = Path(__file__).parent / "adapters"
    """Folder of the adapter."""

    @property
    def adapter(self) -> Path:
        """The script that trains with it."""
        return self.adapters / f"with_{self.name}.py"

    def can_do(self, work: Work) -> bool:
        """Whether it has the work's environment and can train its number of agents."""
        return self.jitted or (work.num_agents == 1 and not work.env_id.endswith("-MinAtar"))

    def share_of(self, work: Work) -> Work:
        """The part of a work that it does in one run; `EAGER_STEPS` where it is not compiled."""
        return work if self.jitted else work.lasting(min(EAGER_STEPS, work.env_steps))


JAX = ("jax==0.10.2", "jaxlib==0.10.2", "flax==0.12.8", "optax==0.2.8")
TORCH = ("torch==2.13.0", "numpy==2.4.6")

OURS = Implementation("jax_ppo")
"""The implementation that the others are compared with."""

PEERS = (
    Implementation(
        "purejaxrl",
        (*JAX, "gymnax==0.0.9", "distrax==0.1.9", "brax==0.14.2", "navix==0.7.4"),
        repository="https://github.com/luchris429/purejaxrl",
    ),
    Implementation("rejax", (*JAX, "rejax==0.1.3", "gymnax==0.0.9", "distrax==0.1.9")),
    Implementation("torch_ref", jitted=False),
    Implementation(
        "cleanrl",
        (*TORCH, "gymnasium==0.29.1", "tensorboard==2.21.0", "tyro==1.0.17"),
        repository="https://github.com/vwxyzjn/cleanrl",
        jitted=False,
    ),
    Implementation(
        "stable_baselines3",
        (*TORCH, "stable-baselines3==2.9.2", "gymnasium==1.4.0"),
        jitted=False,
    ),
    Implementation(
        "sbx",
        (*JAX, *TORCH, "sbx-rl==0.28.0", "stable-baselines3==2.9.2", "gymnasium==1.4.0"),
        jitted=False,
    ),
)


@dataclass(frozen=True)
class Installed:
    """An implementation and the paths needed to start it."""

    implementation: Implementation
    python: Path
    checkout: Path | None = None
    tree: Path | None = None
    """First entry of PYTHONPATH."""

    @property
    def name(self) -> str:
        """The implementation's."""
        return self.implementation.name


def find_peer(name: str) -> Implementation:
    """An implementation by its name.

    Raises:
        AppError: There is no implementation of that name.
    """
    named = {peer.name: peer for peer in PEERS}
    if name not in named:
        raise AppError(unknown_name("implementation", name, named))
    return named[name]


def locate(
    implementation: Implementation,
    folder: Path,
    pythons: Mapping[str, Path],
    checkouts: Mapping[str, Path],
) -> Installed:
    """Find the interpreter and the source of an implementation.

    Args:
        implementation: The implementation.
        folder: Folder of the environments that `install` makes, and of the sources.
        pythons: Interpreters to use in place of those of `install`, by implementation.
        checkouts: Sources, by implementation.

    Raises:
        AppError: Its environment or its source is missing; the message has the command for it.
    """
    name = implementation.name
    if not implementation.requirements:
        return Installed(implementation, Path(sys.executable), tree=ROOT)
    python = pythons.get(name, python_of(folder / name))
    if not python.is_file():
        raise AppError(
            f"{name} has no environment: there is no {python}; "
            f"make it with `python -m benchmarks install {name} --folder {folder}`, "
            f"or give another with --pythons {name}=PATH"
        )
    if not implementation.repository:
        return Installed(implementation, python)
    checkout = checkouts.get(name, folder / f"{name}-source")
    if not checkout.is_dir():
        raise AppError(
            f"{name} is run from its source: there is no folder {checkout}; "
            f"get it with `git clone {implementation.repository} {checkout}`, "
            f"or give another with --checkouts {name}=PATH"
        )
    return Installed(implementation, python, checkout)


def install(implementation: Implementation, folder: Path, cuda: bool = False) -> Path:
    """Make a virtual environment for an implementation, and install its requirements there.

    Args:
        implementation: The implementation.
        folder: Parent folder of the environment; an existing environment is replaced.
        cuda: Whether to install JAX with CUDA.

    Returns:
        Path of the environment.

    Raises:
        AppError: It needs no environment, or a requirement cannot be installed.
    """
    if not implementation.requirements:
        raise AppError(
            f"{implementation.name} runs in this environment; there is nothing to install"
        )
    place = folder / implementation.name
    venv.create(place, clear=True, with_pip=True)
    wanted = [
        pin.replace("jax==", "jax[cuda12]==") if cuda else pin
        for pin in implementation.requirements
    ]
    command = [str(python_of(place)), "-m", "pip", "install", *wanted]
    if subprocess.run(command, check=False).returncode:
        raise AppError(f"{implementation.name} could not be installed: {shlex.join(command)}")
    return place


def python_of(environment: Path) -> Path:
    """The interpreter of a virtual environment."""
    return environment / "bin" / "python"


def read_paths(words: Iterable[str], option: str) -> dict[str, Path]:
    """Paths by implementation, from words of the form NAME=PATH.

    Raises:
        AppError: A word has another form, or there is no implementation of that name.
    """
    pairs = [word.partition("=") for word in words]
    for name, separator, path in pairs:
        if not separator or not path:
            raise AppError(f"{option} takes NAME=PATH, such as purejaxrl=../purejaxrl, not {name}")
        find_peer(name)
    return {name: Path(path).absolute() for name, _, path in pairs}
