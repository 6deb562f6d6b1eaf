"""Going back to an earlier point of a run, by training again from there."""

from functools import partial

import jax

from jax_ppo.anatomy import ClipAnatomy, clip_anatomy
from jax_ppo.app.checkpoints import from_arrays, list_checkpoints, read_checkpoint
from jax_ppo.app.devices import Program
from jax_ppo.app.pictures.anatomy import clip_picture
from jax_ppo.app.pictures.picture import Picture
from jax_ppo.app.runs import Run
from jax_ppo.app.training import initial_states, population_of, shapes_of
from jax_ppo.config import PPOConfig
from jax_ppo.train import train_updates
from jax_ppo.types import TrainState

ANATOMY_AT = 0.1
"""Share of training after which the clip band is looked at: the policy changes fastest early on."""


def agent_at(run: Run, update: int) -> TrainState:
    """The first agent of a run as it was after `update` updates.

    Training is repeated from the newest checkpoint that is not later, which gives the same agent
    within rounding.

    Args:
        run: A run of JAX.
        update: At most the number of updates of the run.
    """
    earlier = [c for c in list_checkpoints(run.checkpoints) if c.update <= update]
    states, done = initial_states(population_of(run)), 0
    if earlier:
        states = from_arrays(read_checkpoint(earlier[-1].path), shapes_of(population_of(run)))
        done = earlier[-1].update
    states = jax.tree.map(lambda leaf: leaf[:1], states)
    return jax.tree.map(lambda leaf: leaf[0], _train_on(states, run.config, update - done))


def clip_anatomy_of(run: Run) -> Picture:
    """The clip band and the samples around it, in an early update of a run's first agent."""
    update = int(ANATOMY_AT * run.config.num_updates)
    anatomy = _anatomy(agent_at(run, update), run.config)
    title = (
        f"PPO on {run.config.env_id}, seed {run.settings.seed}: "
        f"update {update + 1} of {run.config.num_updates}"
    )
    return clip_picture(title, jax.device_get(anatomy))


@partial(Program, donate_argnums=0)
def _train_on(states: TrainState, config: PPOConfig, num_updates: int) -> TrainState:
    """Some more updates; the metrics are not kept."""
    return train_updates(states, config, num_updates, capacity=config.num_updates)[0]


@Program
def _anatomy(state: TrainState, config: PPOConfig) -> ClipAnatomy:
    return clip_anatomy(state, config)
