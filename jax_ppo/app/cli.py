"""The command line of the JAX trainer."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from jax_ppo.app.command_line import Command, RunOptions, check_episodes, run_program
from jax_ppo.app.commands.common import common_commands, finish_run
from jax_ppo.app.commands.envs import EnvsOptions, envs_command
from jax_ppo.app.commands.experiment import ExperimentOptions, experiment_command
from jax_ppo.app.commands.play import PlayOptions, play_command
from jax_ppo.app.commands.report import (
    CompareOptions,
    DoctorOptions,
    ReportOptions,
    compare_command,
    doctor_command,
    report_command,
)
from jax_ppo.app.commands.sweep import SweepOptions, default_sweep, resume_sweep, sweep_command
from jax_ppo.app.errors import AppError
from jax_ppo.app.framework import JAX, open_own_run
from jax_ppo.app.runs import open_run
from jax_ppo.app.runtime import is_leader, set_up
from jax_ppo.app.sweeps.sweep import is_sweep
from jax_ppo.app.training import follow_run

DESCRIPTION = "PPO in pure JAX: the whole training loop under one jit."


@dataclass(frozen=True)
class ResumeOptions(RunOptions):
    """Continue a run or a sweep that was stopped, from its newest sound checkpoint."""

    eval_episodes: int = 128
    """Episodes that each trained agent is evaluated on at the end."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command of `jax-ppo`; see `run_program`."""
    return run_program("jax-ppo", DESCRIPTION, COMMANDS, arguments)


def resume_command(options: ResumeOptions, console: Console) -> None:
    """jax-ppo resume."""
    check_episodes(options.eval_episodes)
    if is_sweep(options.run):
        resume_sweep(options.run, options.allow_import, console)
        return
    if open_run(options.run).framework != JAX.name:
        raise AppError(f"{options.run} is a run of torch-ref, whose runs cannot be resumed")
    run = open_own_run(JAX, options.run, options.allow_import)
    set_up(run.config, run.settings)
    JAX.check(run.config, run.algorithm, run.settings.num_agents)
    if is_leader():
        finish_run(JAX, run, console, options.eval_episodes)
    else:
        follow_run(run)


COMMANDS = {
    **common_commands(JAX),
    "resume": Command(ResumeOptions, resume_command),
    "sweep": Command(SweepOptions, sweep_command, default_sweep),
    "experiment": Command(ExperimentOptions, experiment_command),
    "play": Command(PlayOptions, play_command),
    "doctor": Command(DoctorOptions, doctor_command),
    "report": Command(ReportOptions, report_command),
    "compare": Command(CompareOptions, compare_command),
    "envs": Command(EnvsOptions, envs_command),
}
