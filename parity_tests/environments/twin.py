"""What is known of an environment that exists in gymnax and in Gymnasium."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np

from parity_tests.measure import PRECISIONS, Precision, allowance

STEP_QUANTITIES = ("obs", "reward", "terminated", "truncated")
"""What a step gives, and what is compared: the observation is the one before any reset."""

Predicate = Callable[["Grid", Precision], np.ndarray]
"""(grid, precision) -> the points that a difference concerns [n], bool."""


class Grid(NamedTuple):
    """Points to take one step from."""

    states: np.ndarray
    """The environment's variables, in Gymnasium's order [n, state_dim]."""
    actions: np.ndarray
    """Whole numbers [n], or numbers [n, action_dim]."""
    elapsed: np.ndarray
    """Steps already taken in the episode [n]."""

    def take(self, index: Any) -> "Grid":
        """Some of the points, by index or by a mask."""
        return Grid(self.states[index], self.actions[index], self.elapsed[index])

    def rounded(self, precision: Precision) -> "Grid":
        """The same points with states and continuous actions rounded to a floating-point type."""
        actions = self.actions if self.actions.ndim == 1 else self.actions.astype(precision)
        return Grid(self.states.astype(precision), actions, self.elapsed)


class Steps(NamedTuple):
    """What one step from every point of a grid gives."""

    obs: np.ndarray
    """Observation that the step led to, before any reset [n, obs_dim]."""
    reward: np.ndarray
    """[n]."""
    terminated: np.ndarray
    """[n], bool."""
    truncated: np.ndarray
    """[n], bool."""
    first_obs: np.ndarray
    """Observation to act on next, after the reset where the episode ended [n, obs_dim]."""


@dataclass(frozen=True)
class Difference:
    """Something in which the two libraries differ by more than rounding of the same arithmetic.

    Results are given by quantity: one of `STEP_QUANTITIES` for what a step gives, a name from
    `sides.Facts` for a property of the environment, "state" for a state after a step that the
    observation does not show, and "invalid_action" for the effect of an action that does not exist.
    """

    what: str
    """The difference in a sentence."""
    gymnax: Mapping[str, Any]
    """What gymnax gives, by quantity."""
    gymnasium: Mapping[str, Any]
    """What Gymnasium gives, by quantity; what is not named is the same on both sides."""
    gymnax_cause: str
    """File, function, and what it does."""
    gymnasium_cause: str
    """File, function, and what it does."""
    state: tuple[float, ...] | None = None
    """A state that shows it; None if none is needed."""
    action: float | None = None
    """The action that shows it in that state."""
    precisions: tuple[Precision, ...] = PRECISIONS
    """Where it shows."""
    affects: Predicate | None = None
    """The points of a grid that it concerns, neither more nor fewer; None if rounding covers it."""
    reachable: bool = True
    """Whether an episode that began with a reset can meet it."""

    @property
    def is_of_a_step(self) -> bool:
        """Whether it shows in what a step gives."""
        return all(quantity in STEP_QUANTITIES for quantity in self.gymnax)

    def row(self) -> dict[str, Any]:
        """All but the predicate, as a line of a table."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "affects"}


@dataclass(frozen=True)
class Rounding:
    """How far apart two results may be, and why."""

    units: float
    """Rounding units: the largest error is units * eps * scale."""
    of: Precision
    """Floating-point type that eps belongs to."""
    reason: str
    """Where the rounding comes from."""
    scale: Callable[[Grid], np.ndarray] | None = None
    """What the rounding is relative to, of the results' shape or one that is broadcast to it.

    None: the largest magnitude of each component over the grid.
    """

    def allowed(self, grid: Grid, results: np.ndarray) -> np.ndarray:
        """The largest permitted error of each of the results [n, ...] that one side gave."""
        largest = np.max(np.abs(results), axis=0, keepdims=True)
        scale = largest if self.scale is None else self.scale(grid)
        return np.broadcast_to(allowance(self.units, scale, self.of), results.shape)


EXACT = Rounding(0.0, "float64", "whole numbers")
"""For flags, and for rewards that are whole numbers."""

WHOLE_REWARDS: Mapping[Precision, Rounding] = {"float32": EXACT, "float64": EXACT}

REORDERED: Mapping[Precision, Rounding] = {
    "float32": Rounding(2, "float32", "gymnax computes in float32"),
    "float64": Rounding(2, "float64", "order of operations"),
}
"""For observations, where both libraries compute the same sums and products."""


@dataclass(frozen=True, eq=False)
class Twin:
    """An environment of both libraries, how to put it into a state, and where they differ."""

    env_id: str
    """Id, the same in both."""
    fields: tuple[str, ...]
    """gymnax's names of the state's variables, in the order of Gymnasium's state."""
    grid: Grid
    """States and actions over the whole space, its walls, limits and goals."""
    reset_bounds: tuple[tuple[float, float], ...]
    """Every variable's least and greatest value after a reset, uniform in between."""
    policy: Callable[[np.ndarray], float]
    """Observation [obs_dim] -> an action; episodes under it reach the time limit."""
    differences: tuple[Difference, ...]
    """All that is known."""
    observe: Callable[[np.ndarray], np.ndarray] = np.asarray
    """Gymnasium's state [state_dim] -> its observation before rounding to float32 [obs_dim]."""
    obs_rounding: Mapping[Precision, Rounding] = field(default_factory=lambda: REORDERED)
    """How far observations may be apart."""
    reward_rounding: Mapping[Precision, Rounding] = field(default_factory=lambda: WHOLE_REWARDS)
    """How far rewards may be apart."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """What else has to be set in Gymnasium's environment for a fresh state."""
    keeps: Precision = "float64"
    """Floating-point type in which Gymnasium keeps the state from step to step."""

    def points(self, precision: Precision) -> Grid:
        """The grid and, after it, the points that show the differences, rounded to a type."""
        shown = [d for d in self.differences if d.is_of_a_step and d.state is not None]
        states = np.array([d.state for d in shown]).reshape(-1, len(self.fields))
        actions = np.array([d.action for d in shown], self.grid.actions.dtype)
        together = Grid(
            np.concatenate([self.grid.states, states]),
            np.concatenate([self.grid.actions, actions.reshape(-1, *self.grid.actions.shape[1:])]),
            np.concatenate([self.grid.elapsed, np.zeros(len(shown), int)]),
        )
        return together.rounded(precision)

    def rounding(self, quantity: str, precision: Precision) -> Rounding:
        """How far one quantity may be apart; flags not at all."""
        table = {"obs": self.obs_rounding, "reward": self.reward_rounding}
        return table[quantity][precision] if quantity in table else EXACT

    def affected(self, quantity: str, grid: Grid, precision: Precision) -> np.ndarray:
        """The points at which a known difference concerns a quantity [n], bool."""
        mask = np.zeros(len(grid.states), bool)
        for difference in self.differences:
            shows = quantity in difference.gymnax and precision in difference.precisions
            if shows and difference.affects is not None:
                mask |= difference.affects(grid, precision)
        return mask


def make_grid(
    axes: Sequence[Sequence[float]], actions: np.ndarray, time_limit: int, samples: int = 300
) -> Grid:
    """Every combination of some values, and random states between the outermost ones.

    Args:
        axes: Values of each of the state's variables.
        actions: Actions to try in every state, [k] or [k, action_dim].
        time_limit: Each point is at the start of an episode, one step before the limit, or two.
        samples: Random states, uniform.
    """
    rng = np.random.default_rng(0)
    product = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    low, high = np.min(product, axis=0), np.max(product, axis=0)
    random = rng.uniform(low, high, (samples, len(axes)))
    states = np.concatenate([product, random])
    elapsed = rng.choice([0, time_limit - 2, time_limit - 1], len(states) * len(actions))
    tiled = np.tile(actions, (len(states),) + (1,) * (actions.ndim - 1))
    return Grid(np.repeat(states, len(actions), axis=0), tiled, elapsed)


def observation_dtype(source: str) -> Difference:
    """The difference that all environments have: Gymnasium shows float32, whatever it computes in.

    Args:
        source: Gymnasium's file and the function that makes the observation.
    """
    return Difference(
        what="Observations in double precision: float64 in gymnax, float32 in Gymnasium.",
        gymnax={"obs_dtype": "float64"},
        gymnasium={"obs_dtype": "float32"},
        gymnax_cause="get_obs collects the state as it is, in the type that JAX computes in.",
        gymnasium_cause=f"{source} rounds the observation to the space's type, float32.",
        precisions=("float64",),
    )


ACTION_DTYPE = Difference(
    what="Actions are int32 in gymnax and int64 in Gymnasium.",
    gymnax={"action_dtype": "int32"},
    gymnasium={"action_dtype": "int64"},
    gymnax_cause="environments/spaces.py, Discrete: int32 by default.",
    gymnasium_cause="spaces/discrete.py, Discrete: int64 by default.",
)
"""The difference that all environments with discrete actions have."""
