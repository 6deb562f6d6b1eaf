"""Running one command of a program: its options, and mistakes reported in a line or two."""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from io import TextIOWrapper
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Union, get_type_hints

import jax
import tyro
from rich.console import Console
from tyro.conf import Positional, arg, subcommand
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from jax_ppo import __version__
from jax_ppo.app.errors import AppError
from jax_ppo.app.imports import allow_imports
from jax_ppo.app.signals import Interrupted
from jax_ppo.config import ConfigError, PPOConfig, unknown_name

OUT_OF_MEMORY = (
    "not enough memory; use fewer --num-envs, --num-steps or --num-agents, "
    "or smaller --hidden-sizes or --conv-channels"
)
OTHER_NAMES = {
    **dict.fromkeys(("clip", "clip-coef", "clip-range"), "--clip-eps"),
    **dict.fromkeys(("clip-vloss", "clip-range-vf"), "--value-clip-eps"),
    **dict.fromkeys(("n-epochs", "num-epochs"), "--update-epochs"),
    **dict.fromkeys(("batch-size", "minibatch-size"), "--num-minibatches (how many parts)"),
    **dict.fromkeys(("seeds", "num-seeds"), "--num-agents"),
    "lr": "--learning-rate",
    "anneal-lr": "--learning-rate-schedule linear",
    "n-envs": "--num-envs",
    "n-steps": "--num-steps",
    "total-timesteps": "--total-steps",
    "norm-adv": "--advantage-normalization",
    "lam": "--gae-lambda",
}
"""Names that other libraries, or older versions of this one, have for our options."""
PACKAGES = {"PIL": "Pillow", "optuna": "Optuna", "torch": "PyTorch"}
"""Packages by the name of their module."""
MAX_EPISODES = 1_000_000
"""Episodes that an agent is evaluated on, at most: all are run side by side."""
REGISTRY = ConstructorRegistry()
"""How tyro reads numbers."""


class UsageError(AppError):
    """A mistake on the command line; the message says which, and what would be right."""


class Command(NamedTuple):
    """A command of a program."""

    options: type
    """Dataclass of its options; the docstring is the help of the command."""
    run: Callable[[Any, Console], None]
    """Takes the options, and where to print."""
    defaults: Callable[[str], Any] | None = None
    """ENV_ID -> default options, of a command that takes an environment as its first word."""


@dataclass(frozen=True)
class RunOptions:
    """Options of a command that reads one run folder."""

    run: Annotated[Positional[Path], arg(metavar="RUN")]
    """Run folder."""
    allow_import: bool = field(default=False, kw_only=True)
    """Whether the module of an environment or algorithm that the folder names as module:name may be
    imported, which runs its code. It is asked for once."""


def run_program(
    program: str,
    description: str,
    commands: Mapping[str, Command],
    arguments: Sequence[str] | None = None,
) -> int:
    """Run one command.

    Args:
        program: Name of the program.
        description: What the help says of it.
        commands: The commands by name.
        arguments: The words after the program's name; None: those of the process.

    Returns:
        The exit status: 0, or 2 for a mistake that the message explains, or 128 + n after signal n.
    """
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal may lack the letters of a name
            stream.reconfigure(errors="backslashreplace")
    allow_imports(words)
    if words[0] == "--version":
        print(__version__)
        return 0
    console = Console()
    try:
        try:
            options = _parse(program, description, commands, words)
        except SystemExit as end:  # tyro has printed help or an error
            return int(end.code or 0)
        commands[words[0]].run(options, console)
    except Interrupted as stop:
        say(console, str(stop))
        return 128 + stop.signal_number
    except KeyboardInterrupt:
        return 130
    except (BrokenPipeError, SystemExit):  # rich exits where nobody reads the output any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ConfigError, AppError) as error:
        return _report(str(error))
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        return _report(f"{where}{error.strerror}")
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return _report(OUT_OF_MEMORY)
    return 0


def _parse(
    program: str, description: str, commands: Mapping[str, Command], words: list[str]
) -> Any:
    """The options of the command that the first word names; help and wrong values exit."""
    name, *rest = words
    if name not in commands and not name.startswith("-"):
        raise UsageError(unknown_name("command", name, commands))
    _check_words(rest)
    special: dict[str, dict[str, Any]] = {}
    if name not in commands:  # help on the program has a line for each command
        docs = {key: str(command.options.__doc__) for key, command in commands.items()}
        special = {key: {"description": doc.split("\n")[0]} for key, doc in docs.items()}
    elif (make_defaults := commands[name].defaults) is not None:
        env_id, rest = split_env_id(rest)
        special = {name: {"default": make_defaults(env_id)}}
    kinds = tuple(
        Annotated[command.options, subcommand(key, **special.get(key, {}))]
        for key, command in commands.items()
    )
    options, unknown = tyro.cli(
        Union[kinds],  # type: ignore[call-overload] # noqa: UP007
        prog=program,
        description=description,
        args=[name, *rest],
        return_unknown_args=True,
        registry=REGISTRY,
    )
    if unknown:
        advice = _explain_unknown(unknown[0], commands[name].options)
        raise UsageError(f"{advice}\nsee `{program} {name} --help`")
    return options


def split_env_id(words: list[str]) -> tuple[str, list[str]]:
    """The environment that a command is given, and the other words.

    It decides the defaults of all other options, so it has to be known before they are parsed: it
    is the first word, or the first after --algorithm NAME.
    """
    first = words[0] if words else ""
    place = 2 if first == "--algorithm" else 1 if first.startswith("--algorithm=") else 0
    named = [word for word, _, _ in map(_partition, words) if word == "--env-id"]
    if len(words) > place and not words[place].startswith("-"):
        if named:
            raise UsageError(f"two environments: {words[place]}, and another after --env-id")
        return words[place], [*words[:place], *words[place + 1 :]]
    for word, following in pairwise([*words, ""]):
        option, separator, value = _partition(word)
        if option == "--env-id" and (separator or following):
            return value if separator else following, words
    return PPOConfig.env_id, words


def _partition(word: str) -> tuple[str, str, str]:
    """--some_option=value as ("--some-option", "=", "value")."""
    option, separator, value = word.partition("=")
    return option.replace("_", "-"), separator, value


def _check_words(words: list[str]) -> None:
    """Raise UsageError for the mistakes that are easier to see before the words are parsed."""
    for word, following in pairwise([*words, ""]):
        option = _partition(word)[0]
        if option.startswith("--") and option[2:] in OTHER_NAMES:
            raise UsageError(f"{option} is called {OTHER_NAMES[option[2:]]} here")
        if option in ("--env-params", "--env-kwargs") and "=" in following:
            raise UsageError(
                "parameters are given as names and values in turn, such as --env-params gravity 5"
            )


def _explain_unknown(word: str, kind: type) -> str:
    """What is probably wrong with a word that no option takes."""
    if word.startswith("-"):
        return unknown_name("option", _partition(word)[0], list(_options_of(kind)), 0.6)
    what = f"{word} stands where an option should"
    if "=" in word:
        return f"{what}; each --grid and each --sample has one NAME=..."
    return f"{what}; ENV_ID comes first, right after the command"


def _options_of(kind: type) -> Iterator[str]:
    """The options that tyro makes of a dataclass and of the dataclasses within it."""
    hints = get_type_hints(kind)
    for spec in fields(kind):
        if is_dataclass(hints[spec.name]):
            yield from _options_of(hints[spec.name])
        else:
            yield f"--{spec.name.replace('_', '-')}"


def _report(message: str) -> int:
    """Print an error; the exit status that goes with it."""
    print(f"error: {message}", file=sys.stderr)
    return 2


def say(console: Console, text: str) -> None:
    """Print a line as it is, without markup, colours or folding."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def require(module: str, feature: str, extra: str) -> None:
    """Raise AppError if a module is not installed, naming the extra that installs it."""
    if importlib.util.find_spec(module) is None:
        name = PACKAGES.get(module, module)
        raise AppError(f"{feature} needs {name}: pip install 'jax-ppo[{extra}]'")


def check_episodes(num_episodes: int) -> None:
    """Raise ConfigError for a number of episodes that cannot be evaluated on side by side."""
    if not 1 <= num_episodes <= MAX_EPISODES:
        raise ConfigError(
            f"the number of episodes must be from 1 to {MAX_EPISODES:,}, got {num_episodes:,}"
        )


def check_writable(file: Path | None) -> None:
    """Raise AppError if a file could not be written, before the work whose result it is to hold."""
    if file is not None and (file.is_dir() or not file.parent.is_dir()):
        reason = "it is a folder" if file.is_dir() else f"there is no folder {file.parent}"
        raise AppError(f"cannot write {file}: {reason}")


@REGISTRY.primitive_rule
def _numbers(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Whole numbers, and numbers or None, with errors that name what is expected."""
    readers = {int: ("INT", _whole_number), float | None: ("FLOAT|None", _number_or_none)}
    if info.type not in readers:
        return None
    metavar, read = readers[info.type]
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, (int, float, type(None))),
        str_from_instance=lambda value: [str(value)],
    )


def _whole_number(words: list[str]) -> int:
    """Also 1e6, which is exact up to 2^53."""
    try:
        return int(words[0])
    except ValueError:
        try:
            number = float(words[0])
        except ValueError:
            number = 0.5
        if not number.is_integer() or abs(number) > 2**53:
            raise ValueError(f"a whole number is needed, not {words[0]}") from None
        return int(number)


def _number_or_none(words: list[str]) -> float | None:
    try:
        return None if words[0].lower() == "none" else float(words[0])
    except ValueError:
        raise ValueError(f"a number or None is needed, not {words[0]}") from None
