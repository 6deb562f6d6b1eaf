"""The devices that a run trains on, and the processes of a cluster that train it together.

Both have to be settled before JAX computes anything.
"""

import os
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import platformdirs
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jax_ppo.app.errors import AppError
from jax_ppo.app.runs import RunSettings
from jax_ppo.config import PPOConfig
from jax_ppo.execution import Execution, compiler_options, plan_execution

COORDINATOR = "JAX_COORDINATOR_ADDRESS"
"""Environment variable that makes this process one of a cluster: host:port of the first."""
NUM_PROCESSES, PROCESS_ID = "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
"""The other two; where SLURM or Open MPI starts the processes, JAX finds these out by itself."""


def set_up_devices(config: PPOConfig, settings: RunSettings) -> None:
    """Make the cores of a CPU into as many devices as the run can use, and join the cluster.

    Args:
        config: What is trained.
        settings: Gives num_seeds and devices.

    Raises:
        AppError: The cluster cannot be joined.
    """
    in_cluster = bool(os.environ.get(COORDINATOR))
    num_devices = settings.devices or count_cores()
    if not in_cluster:
        num_devices = plan_execution(config, settings.num_seeds, num_devices, "cpu").num_devices
    # One thread is enough for one device: handing small pieces to a second costs more than they
    # do. (4 x 128, four cores of an AMD EPYC: 70 microseconds per gradient step, else 135.)
    os.environ.setdefault("NPROC", str(1 if num_devices == 1 else count_cores()))
    try:
        if "jax_num_cpu_devices" in jax.config.values:
            jax.config.update("jax_num_cpu_devices", num_devices)
        if in_cluster:
            jax.distributed.initialize(
                num_processes=_whole_number(NUM_PROCESSES), process_id=_whole_number(PROCESS_ID)
            )
    except (RuntimeError, ValueError) as error:
        if in_cluster:
            raise AppError(
                f"cannot join the cluster at {os.environ[COORDINATOR]} ({COORDINATOR}): {error} "
                f"{NUM_PROCESSES} and {PROCESS_ID} say how many processes there are and which of "
                "them, from 0, this is"
            ) from error
        # JAX has computed already, in this process: its devices are what they are.


def _whole_number(variable: str) -> int | None:
    """The number in an environment variable; None if it is not set."""
    return int(os.environ[variable]) if variable in os.environ else None


def keep_compiled_programs() -> None:
    """Let JAX keep compiled programs in the user's cache folder: a second start does not compile.

    JAX_COMPILATION_CACHE_DIR names another folder, JAX_ENABLE_COMPILATION_CACHE=false keeps none.
    """
    if not jax.config.values["jax_compilation_cache_dir"]:
        folder = Path(platformdirs.user_cache_dir("jax-ppo")) / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(folder))


class Program:
    """A function under `jax.jit` with `program_options`, which depend on devices found later.

    Example: `@partial(Program, static_argnames="execution")`.
    """

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        """Nothing is asked of JAX yet.

        Args:
            function: What to compile.
            **options: Arguments of `jax.jit`.
        """
        self._jit = partial(jax.jit, function, **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compile it for these arguments unless that is done, and run it."""
        return self._compiled(*args, **kwargs)

    @cached_property
    def _compiled(self) -> Callable[..., Any]:
        return self._jit(compiler_options=program_options())


def program_options() -> dict[str, bool | int]:
    """The `compiler_options` of the default backend, but for those that XLA_FLAGS sets."""
    flags = os.environ.get("XLA_FLAGS", "")
    options = compiler_options().items()
    return {name: value for name, value in options if f"--{name}" not in flags}


def plan_run(config: PPOConfig, settings: RunSettings) -> Execution:
    """The layout of a run on the devices that there are, in all processes.

    Raises:
        AppError: The run cannot use a device of every process.
    """
    processes = jax.process_count()
    found = len(jax.devices())
    wanted = min((settings.devices or found) * processes, found)
    execution = plan_execution(config, settings.num_seeds, wanted, jax.default_backend())
    used = {device.process_index for device in jax.devices()[: execution.num_devices]}
    if len(used) < processes:
        raise AppError(
            f"this run can use {execution.num_devices} of {found} devices, and so only "
            f"{len(used)} of {processes} processes: start fewer, or give it more --num-seeds or "
            "larger minibatches"
        )
    return execution


def count_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def is_leader() -> bool:
    """Whether this process is the one that writes; without a cluster it is."""
    return jax.process_index() == 0


def agree(number: int = 0) -> int:
    """The leader's number, in every process."""
    return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def share_with_all(tree: Any, mesh: Mesh) -> Any:
    """The leader's arrays, on every device of the cluster.

    Args:
        tree: Arrays; those of other processes only give their shapes.
        mesh: The devices.
    """
    return jax.tree.map(lambda leaf: _share_leaf(leaf, NamedSharding(mesh, PartitionSpec())), tree)


def _share_leaf(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """One array of `share_with_all`; a random key travels as the numbers that it is made of."""
    if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        numbers = _share_leaf(jax.random.key_data(leaf), sharding)
        return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(leaf))
    everywhere = multihost_utils.broadcast_one_to_all(np.asarray(leaf))
    return jax.device_put(everywhere, sharding)
