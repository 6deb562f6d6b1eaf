"""Every number of the algorithm: its default, its range and what it does.

This module imports no framework, so that both trainers can share the one class.
"""

import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Self, get_args, get_origin

import numpy as np

MAX_INT32 = 2**31 - 1
"""Largest count, of updates or of the samples of a rollout: XLA counts in 32 bits."""
MAX_FLOAT32 = float(np.finfo(np.float32).max)
"""Largest coefficient: anything beyond is infinite in float32."""


class ConfigError(ValueError):
    """A configuration that cannot be trained; the message says what to change."""


class Interval(NamedTuple):
    """The values a coefficient may take, from `low` to `high`."""

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False

    def contains(self, values: np.ndarray) -> bool:
        """Whether every one of `values` is finite and inside the interval."""
        above = values > self.low if self.low_open else values >= self.low
        return bool(np.all(np.isfinite(values) & above & (values <= self.high)))

    def __str__(self) -> str:
        """In words, for error messages."""
        if self.high < math.inf:
            return f"a number in {'(' if self.low_open else '['}{self.low:g}, {self.high:g}]"
        if self.low > -math.inf:
            bound = "greater than" if self.low_open else "of at least"
            return f"a finite number {bound} {self.low:g}"
        return "a finite number"


ANY = Interval()
POSITIVE = Interval(low=0.0, low_open=True)
NON_NEGATIVE = Interval(low=0.0)
UNIT = Interval(low=0.0, high=1.0)
WARMUP = Interval(low=0.0, high=1.0, low_open=True)


def coefficient(default: float | None, interval: Interval) -> Any:
    """Declare a leaf of the config's pytree, which may be traced or batched."""
    return field(default=default, metadata={"coefficient": True, "interval": interval})


def count(default: int) -> Any:
    """Declare a static integer of at least one, which sets the shape of an array."""
    return field(default=default, metadata={"minimum": 1})


@dataclass(frozen=True, eq=False)
class PPOConfig:
    """Everything that determines how an agent is trained, apart from its random key.

    Fields that set shapes or choose code are static: changing one compiles a new program. The
    coefficients (and `env_params`) are leaves of a pytree: changing one reuses the program, and
    giving arrays instead of numbers trains several agents at once under `jax.vmap`.

    Lists are stored as tuples and whole-number coefficients as floats. Values are checked when a
    config is made; values that JAX is tracing have no number yet and are let through.

    Raises:
        ConfigError: A value is outside its range, or two fields contradict each other.
    """

    env_id: str = "CartPole-v1"
    """Name of the environment in its library, or module:name, to import a module first."""
    env_params: Mapping[str, float] = field(default_factory=dict)
    """Environment parameters that replace the defaults, such as gravity."""
    env_kwargs: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    """Arguments of the environment's constructor, such as the size of DeepSea."""

    total_steps: int = count(150_000)
    """Environment steps in all, over all environments; rounded down to whole updates."""
    num_envs: int = count(16)
    """Environments stepped side by side."""
    num_steps: int = count(32)
    """Steps of each environment between two updates."""
    update_epochs: int = count(10)
    """Passes over each rollout."""
    num_minibatches: int = count(4)
    """Parts that each pass is split into; must divide num_envs * num_steps."""

    learning_rate: float = coefficient(1e-3, NON_NEGATIVE)
    """Step size of the optimizer, at the start."""
    learning_rate_schedule: Literal["constant", "linear", "cosine"] = "linear"
    """How the learning rate falls to zero over training, if it does."""
    learning_rate_warmup: float | None = coefficient(None, WARMUP)
    """Share of training over which the learning rate rises linearly to its schedule. None: no
    warm-up."""
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = "adam"
    """Adam, Adam with decoupled weight decay, RMSProp (decay 0.99), or plain gradient descent."""
    adam_eps: float = coefficient(1e-5, POSITIVE)
    """Added to the root of the second moment of Adam and RMSProp."""
    adam_eps_root: float = coefficient(0.0, NON_NEGATIVE)
    """Added to Adam's second moment under the root: above 0 for gradients through updates, since
    the root has no derivative where a parameter's gradients have all been 0."""
    weight_decay: float = coefficient(0.0, NON_NEGATIVE)
    """Decoupled weight decay; adamw only."""
    max_grad_norm: float | None = coefficient(0.5, POSITIVE)
    """Largest global norm of a gradient; longer ones are scaled down. None: no limit."""

    gamma: float = coefficient(0.99, UNIT)
    """Discount of rewards, per step."""
    gae_lambda: float = coefficient(0.95, UNIT)
    """Weight of longer returns in GAE: 0 is one-step TD, 1 is Monte Carlo."""
    advantage_normalization: Literal["minibatch", "batch", "none"] = "minibatch"
    """Over which samples advantages are brought to mean 0 and standard deviation 1."""

    clip_eps: float = coefficient(0.2, POSITIVE)
    """How far the probability ratio may move from 1 before the objective goes flat."""
    clip_eps_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How clip_eps falls to zero over training, if it does."""
    value_clip_eps: float | None = coefficient(None, POSITIVE)
    """How far a value may move from the rollout's before its loss is clipped. None: no clipping."""
    vf_coef: float = coefficient(0.5, NON_NEGATIVE)
    """Weight of the value loss."""
    ent_coef: float = coefficient(0.0, NON_NEGATIVE)
    """Weight of the entropy bonus."""
    target_kl: float | None = coefficient(None, POSITIVE)
    """approx_kl above which an update takes no more gradient steps. None: no limit."""
    kl_coef: float | None = coefficient(None, NON_NEGATIVE)
    """Weight of the KL penalty at the start; for the penalty without clipping, set clip_eps large.
    None: no penalty."""
    adaptive_kl: bool = True
    """Whether kl_coef is doubled and halved to keep the KL divergence near kl_target."""
    kl_target: float = coefficient(0.01, POSITIVE)
    """KL divergence per update that the adaptive coefficient aims at, in nats."""

    normalize_observations: bool = False
    """Whether observations are brought to running mean 0 and standard deviation 1."""
    normalize_rewards: bool = False
    """Whether rewards are divided by the running standard deviation of the discounted return."""
    normalization_clip: float = coefficient(10.0, POSITIVE)
    """Normalized observations and rewards are clipped to plus and minus this."""

    network: Literal["auto", "mlp", "cnn"] = "auto"
    """auto: a CNN for observations of shape [height, width, channels], else an MLP."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Width of each dense hidden layer."""
    conv_channels: tuple[int, ...] = (16,)
    """Channels of each convolution of the CNN."""
    conv_kernel_size: int = count(3)
    """Height and width of each convolution's kernel."""
    conv_stride: int = count(1)
    """Stride of each convolution."""
    activation: Literal["tanh", "relu", "swish"] = "tanh"
    """Non-linearity after each hidden layer."""
    shared_trunk: bool = False
    """Whether policy and value share their hidden layers."""
    initializer: Literal["orthogonal", "default"] = "orthogonal"
    """Orthogonal with gains sqrt(2), 0.01 (policy) and 1 (value), or the framework's own."""
    log_std_init: float = coefficient(0.0, ANY)
    """Log standard deviation of continuous actions, at the start."""

    matmul_precision: Literal["highest", "high", "default"] = "highest"
    """Precision of matrix products; below highest, GPUs use TF32 and TPUs bfloat16."""

    def __post_init__(self) -> None:
        """Bring lists, mappings and whole numbers to one form, then check every field."""
        for spec in dataclasses.fields(self):
            value = getattr(self, spec.name)
            if spec.metadata.get("coefficient"):
                object.__setattr__(self, spec.name, _as_float(value))
            elif isinstance(value, list):
                object.__setattr__(self, spec.name, tuple(value))
            elif isinstance(value, Mapping):
                object.__setattr__(self, spec.name, dict(value))
        _check_config(self)

    def __eq__(self, other: object) -> bool:
        """Whether every field is the same; arrays are, entry by entry."""
        if not isinstance(other, PPOConfig):
            return NotImplemented
        return not changed_fields(self, other)

    def __hash__(self) -> int:
        """For a config that is a static argument of `jax.jit`, whose coefficients are constants.

        Raises:
            TypeError: A coefficient is an array.
        """
        fields = vars(self)
        for name, value in fields.items():
            if hasattr(value, "shape"):
                raise TypeError(
                    f"a config has no hash while {name} is an array; give it to jax.jit as it is, "
                    "not as a static argument"
                )
        return hash(
            tuple(tuple(sorted(v.items())) if isinstance(v, dict) else v for v in fields.values())
        )

    @property
    def batch_size(self) -> int:
        """Samples per update: num_envs * num_steps."""
        return self.num_envs * self.num_steps

    @property
    def minibatch_size(self) -> int:
        """Samples per gradient step."""
        return self.batch_size // self.num_minibatches

    @property
    def num_updates(self) -> int:
        """Whole rollout-and-update rounds in total_steps."""
        return self.total_steps // self.batch_size

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, checked anew."""
        return dataclasses.replace(self, **changes)


COEFFICIENTS = tuple(
    spec.name for spec in dataclasses.fields(PPOConfig) if spec.metadata.get("coefficient")
)
"""Names of the fields that are pytree leaves, besides env_params."""


def changed_fields(base: PPOConfig, config: PPOConfig) -> dict[str, Any]:
    """The fields of `config` that differ from those of `base`, by name."""
    fields = vars(config)
    return {
        name: fields[name] for name in fields if not _is_same(fields[name], getattr(base, name))
    }


def _is_same(value: Any, other: Any) -> bool:
    """Whether two values of a field are equal; traced ones are if they are one object."""
    if isinstance(value, dict) and isinstance(other, dict):
        return set(value) == set(other) and all(_is_same(value[k], other[k]) for k in value)
    if not hasattr(value, "shape") and not hasattr(other, "shape"):
        return bool(value == other)
    numbers, others = _concrete_numbers(value), _concrete_numbers(other)
    if numbers is None or others is None:
        return value is other
    return np.array_equal(numbers, others)


def is_convolutional(config: PPOConfig, obs_shape: tuple[int, ...]) -> bool:
    """Whether the network starts with convolutions.

    Raises:
        ConfigError: network = cnn, but observations are no images.
    """
    if config.network != "cnn":
        return config.network == "auto" and len(obs_shape) == 3
    if len(obs_shape) not in (2, 3):
        raise ConfigError(
            f"network = cnn needs image observations, but {config.env_id} gives shape {obs_shape}; "
            "use network = mlp"
        )
    return True


def conv_size(config: PPOConfig, size: int) -> int:
    """Height or width of what one convolution makes of an image of height or width `size`."""
    return (size - config.conv_kernel_size) // config.conv_stride + 1


def check_image_size(config: PPOConfig, obs_shape: tuple[int, ...]) -> None:
    """Raise ConfigError if the convolutions leave nothing of the image."""
    for size in obs_shape[:2]:
        for _ in config.conv_channels:
            size = conv_size(config, size)
            if size < 1:
                raise ConfigError(
                    f"{len(config.conv_channels)} convolutions of conv_kernel_size = "
                    f"{config.conv_kernel_size} and conv_stride = {config.conv_stride} leave "
                    f"nothing of images of shape {obs_shape}; "
                    "use fewer or smaller ones, or network = mlp"
                )


def unknown_name(kind: str, name: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """Error message for a name that does not exist, with the nearest ones that do.

    Args:
        kind: What it is the name of.
        name: The name that was given.
        known: What there is.
        cutoff: How alike a name must be to be suggested, in [0, 1].
    """
    lowered = {other.lower(): other for other in known}
    matches = difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=cutoff)
    near = [lowered[match] for match in matches]
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(known)}"
    return f"there is no {kind} {name!r}; {hint}"


def _check_config(config: PPOConfig) -> None:
    """Raise ConfigError for the first field, or pair of fields, that cannot be trained."""
    for spec in dataclasses.fields(config):
        _check_field(spec, getattr(config, spec.name))
    _check_combinations(config)


def _check_field(spec: dataclasses.Field[Any], value: Any) -> None:
    """Raise ConfigError unless `value` is of the field's type and in its range."""
    if "interval" in spec.metadata:
        if value is not None or type(None) not in get_args(spec.type):
            _check_coefficient(spec.name, value, spec.metadata["interval"])
    elif "minimum" in spec.metadata:
        _check_count(spec.name, value)
    elif get_origin(spec.type) is Literal:
        choices = get_args(spec.type)
        if value not in choices:
            raise ConfigError(f"{spec.name} must be one of {', '.join(choices)}, got {value!r}")
    elif get_origin(spec.type) is tuple:
        if not isinstance(value, tuple):
            raise ConfigError(f"{spec.name} must be a list of whole numbers, got {value!r}")
        for size in value:
            _check_count(f"every entry of {spec.name}", size)
    elif isinstance(spec.type, type) and not isinstance(value, spec.type):
        raise ConfigError(f"{spec.name} must be of type {spec.type.__name__}, got {value!r}")
    elif get_origin(spec.type) is Mapping and not _is_named(value):
        raise ConfigError(f"{spec.name} must map names to values, got {value!r}")


def _check_coefficient(name: str, value: Any, interval: Interval) -> None:
    """Raise ConfigError unless `value` is a number, or an array of them, inside `interval`."""
    if not isinstance(value, float) and not _is_real_array(value):
        raise ConfigError(f"{name} must be {interval}, got {value!r}")
    numbers = _concrete_numbers(value)
    if numbers is None:
        return
    if not interval.contains(numbers):
        raise ConfigError(f"{name} must be {interval}, got {value}")
    if np.any(np.abs(numbers) > MAX_FLOAT32):
        raise ConfigError(f"{name} must be finite in float32, got {value}")


def _check_count(name: str, value: Any) -> None:
    """Raise ConfigError unless `value` is a whole number of at least 1."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < 1:
        written = isinstance(value, float) and value.is_integer() and value >= 1
        advice = f"; write {int(value)}" if written else ""
        raise ConfigError(f"{name} must be a whole number of at least 1, got {value!r}{advice}")
    if value > MAX_INT32 and name != "total_steps":
        raise ConfigError(f"{name} must be at most {MAX_INT32:,}, got {value:,}")


def _is_named(value: Any) -> bool:
    """Whether `value` maps strings to something."""
    return isinstance(value, dict) and all(isinstance(name, str) for name in value)


def _as_float(value: Any) -> Any:
    """Python's and NumPy's real numbers as a Python float; anything else as it is."""
    if not isinstance(value, (int, float, np.integer, np.floating)) or isinstance(value, bool):
        return value
    try:
        return float(value)
    except OverflowError:
        return value


def _is_real_array(value: Any) -> bool:
    """Whether `value` is an array of real numbers, concrete or traced, of whatever framework."""
    dtype = str(getattr(value, "dtype", ""))
    return hasattr(value, "shape") and any(kind in dtype for kind in ("float", "int"))


def _concrete_numbers(value: Any) -> np.ndarray | None:
    """A number or an array as an array of floats; None where a framework is still tracing it."""
    try:
        return np.asarray(value, dtype=np.float64)
    except Exception:  # each framework has an error of its own for a tracer
        return None


def _check_combinations(config: PPOConfig) -> None:
    """Raise ConfigError where two fields contradict each other."""
    if config.batch_size % config.num_minibatches:
        raise ConfigError(
            f"num_envs * num_steps = {config.num_envs} * {config.num_steps} = {config.batch_size} "
            f"samples do not divide into num_minibatches = {config.num_minibatches} equal parts"
        )
    if max(config.batch_size, config.num_updates) > MAX_INT32:
        raise ConfigError(
            f"total_steps = {config.total_steps:,} are {config.num_updates:,} updates of "
            f"{config.batch_size:,} samples; neither may be more than {MAX_INT32:,}"
        )
    if config.total_steps < config.batch_size:
        raise ConfigError(
            f"total_steps = {config.total_steps} is less than one update of "
            f"num_envs * num_steps = {config.batch_size} steps"
        )
    normalization = config.advantage_normalization
    sizes = {"minibatch": config.minibatch_size, "batch": config.batch_size, "none": 0}
    if sizes[normalization] == 1:
        raise ConfigError(
            f"one sample cannot be normalized: with {normalization}es of 1, "
            f"set advantage_normalization to {'batch or ' * (config.batch_size > 1)}none"
        )
    decay = _concrete_numbers(config.weight_decay)
    if config.optimizer != "adamw" and decay is not None and np.any(decay > 0):
        raise ConfigError(
            f"weight_decay needs optimizer = adamw; {config.optimizer} does not use it"
        )
    if config.network == "cnn" and not config.conv_channels:
        raise ConfigError("network = cnn needs at least one entry in conv_channels")
