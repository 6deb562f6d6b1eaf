"""Reading the options of a command, with mistakes reported in a line or two."""

import io
import re
from contextlib import redirect_stderr
from typing import TypeVar

import tyro

from jax_ppo.app.errors import AppError

Options = TypeVar("Options")

ADVICE = {
    r"parsing (--[\w-]+): invalid literal for int\(\) with base 10: '?([^'\s]*)'?": (
        "{0} is a whole number, written in full such as 1000000, not {1}"
    ),
    r"parsing (--[\w-]+): no type matching .* from \['([^']*)'\]": (
        "{0} is a number or None, not {1}"
    ),
    r"Failed to parse key-value pairs": (
        "parameters are given as names and values in turn, such as --env-params gravity 5"
    ),
    r"Unrecognized options: ([A-Z][\w:-]*)": (
        "{0} stands where an option should; ENV_ID comes first, right after the command"
    ),
    r"Unrecognized options: ([\w.]+=\S*)": (
        "{0} stands where an option should; each --grid and each --sample has one NAME=..."
    ),
}
"""What to say, by what tyro says, where it does not speak of the mistake that was probably made."""

OTHER_NAMES = {
    "lr": "--learning-rate",
    "anneal-lr": "--learning-rate-schedule linear",
    "clip": "--clip-eps",
    "clip-coef": "--clip-eps",
    "clip-range": "--clip-eps",
    "clip-vloss": "--value-clip-eps",
    "clip-range-vf": "--value-clip-eps",
    "n-envs": "--num-envs",
    "n-steps": "--num-steps",
    "n-epochs": "--update-epochs",
    "num-epochs": "--update-epochs",
    "batch-size": "--num-minibatches (how many parts)",
    "minibatch-size": "--num-minibatches (how many parts)",
    "total-timesteps": "--total-steps",
    "norm-adv": "--advantage-normalization",
    "lam": "--gae-lambda",
    "seeds": "--num-seeds",
}
"""What other libraries call our options."""


class UsageError(AppError):
    """The words on the command line make no sense; the message says which, and what would."""


def parse_options(
    kind: type[Options], command: str, words: list[str], defaults: Options | None = None
) -> Options:
    """Read a command's options.

    Args:
        kind: The dataclass of the options.
        command: What the user typed before the options.
        words: The options.
        defaults: Values to use in place of the dataclass's own defaults.

    Raises:
        UsageError: There is no such option, or its value is of the wrong kind.
    """
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            if defaults is None:
                return tyro.cli(kind, prog=command, args=words)
            return tyro.cli(kind, prog=command, args=words, default=defaults)
    except SystemExit as end:
        if end.code == 0:
            raise
        raise UsageError(_shorten(complaint.getvalue(), command)) from None


def _shorten(complaint: str, command: str) -> str:
    """What tyro's box says first, and the options that it suggests."""
    paragraphs: list[list[str]] = [[]]
    for line in complaint.splitlines():
        text = line.strip("│╭╮╰╯ ")
        if text.startswith("─") or (text and not text.strip("-")):
            paragraphs.append([])
        else:
            paragraphs[-1].append(text)
    more_help = f"see `{command.replace(' [ENV_ID]', '')} --help`"
    text = " ".join(complaint.split())
    unknown = re.search(r"Unrecognized options: --([\w-]+)", text)
    if unknown and (name := unknown[1].replace("_", "-")) in OTHER_NAMES:
        return f"--{name} is called {OTHER_NAMES[name]} here\n{more_help}"
    for pattern, advice in ADVICE.items():
        if match := re.search(pattern, text):
            return f"{advice.format(*match.groups())}\n{more_help}"
    _, message, *more = [*paragraphs, []]
    near = [m[1] for lines in more for text in lines if (m := re.match(r"(--[\w-]+)", text))]
    hint = f"did you mean {' or '.join(near[:3])}? " if "Perhaps" in complaint and near else ""
    first = " ".join(message).strip(" .") or complaint.strip()
    return f"{first}\n{hint}{more_help}"
