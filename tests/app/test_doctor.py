"""Each of the doctor's rules, on an agent that has the fault on purpose and on one that has not."""

import dataclasses
from collections.abc import Sequence
from functools import cache, partial
from typing import Any
from unittest.mock import Mock

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax.environments import environment, spaces

from jax_ppo import Environment, Metrics, PPOConfig, make_env, ppo, train_agents, trpo
from jax_ppo.app.checkpoints import to_arrays
from jax_ppo.app.cli import main
from jax_ppo.app.doctor import rules
from jax_ppo.app.doctor.probe import probe_environment
from jax_ppo.app.doctor.rules import RULES, examine
from jax_ppo.app.history import History
from jax_ppo.app.runs import Run
from jax_ppo.ppo import AlgorithmFn
from jax_ppo.variants.policy_gradient import a2c_loss

CARTPOLE = PPOConfig(total_steps=40 * 512)
PENDULUM = PPOConfig(
    env_id="Pendulum-v1", total_steps=60 * 512, env_params={"max_steps_in_episode": 200}
)

FAULTS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "tiny steps": {"learning_rate": 1e-7},
    "huge steps": {"learning_rate": 1.0},
    "wide clip": {"clip_eps": 100.0},
    "narrow clip": {"learning_rate": 1e-2, "clip_eps": 0.01},
}
"""What is done to CartPole's defaults: coefficients only, so that all are one program."""

PENDULUM_FAULTS: dict[str, dict[str, Any]] = {
    "huge value loss": {},
    "no time limit": {"env_params": {"max_steps_in_episode": 100_000}},
    "untrained critic": {"vf_coef": 0.0},
}


@struct.dataclass
class CorridorParams(environment.EnvParams):
    max_steps_in_episode: int = 20
    scale: float = 1.0
    reward: float = 1.0


class Corridor(environment.Environment):
    """Walk to the right; every fault of an environment can be switched on."""

    def __init__(self, limit_inside: bool = False, limit_as_end: bool = False) -> None:
        super().__init__()
        self.limit_inside, self.limit_as_end = limit_inside, limit_as_end

    @property
    def default_params(self) -> CorridorParams:
        return CorridorParams()

    def reset_env(self, key: jax.Array, params: Any) -> tuple[jax.Array, Any]:
        state = environment.EnvState(time=jnp.int32(0))
        return self._obs(jnp.zeros(()), params), (state, jnp.zeros(()))

    def step_env(self, key: jax.Array, state: Any, action: jax.Array, params: Any) -> tuple:
        clock, place = state
        place = place + 2.0 * action - 1.0
        time = clock.time + 1
        if self.limit_inside:  # resets by itself, and so hides the end
            over = time >= params.max_steps_in_episode
            time, place = jnp.where(over, 0, time), jnp.where(over, 0.0, place)
        obs = self._obs(place, params)
        reward = params.reward * action.astype(float)
        ended = (time >= params.max_steps_in_episode) & self.limit_as_end
        return obs, (environment.EnvState(time=time), place), reward, ended, {}

    def is_truncated(self, state: Any, params: Any) -> jax.Array:
        return state[0].time >= params.max_steps_in_episode

    def _obs(self, place: jax.Array, params: Any) -> jax.Array:
        return jnp.stack([place, params.scale * place])

    @property
    def name(self) -> str:
        return "Corridor"

    def action_space(self, params: Any = None) -> spaces.Discrete:
        return spaces.Discrete(2)

    def observation_space(self, params: Any) -> spaces.Box:
        return spaces.Box(-jnp.inf, jnp.inf, (2,), jnp.float32)


@pytest.fixture(autouse=True, scope="module")
def _corridor() -> None:
    gymnax.register("DoctorCorridor-v0", Corridor)


@cache
def trained(base: str) -> dict[str, tuple[PPOConfig, History, dict[str, np.ndarray]]]:
    """An agent for each fault, by name."""
    config = {"cartpole": CARTPOLE, "pendulum": PENDULUM}[base]
    faults = {"cartpole": FAULTS, "pendulum": PENDULUM_FAULTS}[base]
    configs = [config.replace(**changes) for changes in faults.values()]
    names = ("learning_rate", "clip_eps", "ent_coef", "vf_coef")
    together = config.replace(
        **{name: jnp.array([getattr(c, name) for c in configs]) for name in names},
        env_params={
            name: jnp.array([c.env_params[name] for c in configs]) for name in config.env_params
        },
    )
    states, metrics = jax.jit(train_agents)(
        jax.random.split(jax.random.key(0), len(configs)), together
    )
    arrays = to_arrays(states)
    return {
        name: (one, history_of(metrics, one, i), arrays)
        for i, (name, one) in enumerate(zip(faults, configs, strict=True))
    }


def history_of(metrics: Metrics, config: PPOConfig, agent: int) -> History:
    updates = np.arange(1, config.num_updates + 1)
    columns = {
        name: np.asarray(values)[:, agent : agent + 1] for name, values in metrics.as_dict().items()
    }
    steps, seconds = updates * config.batch_size, np.zeros(len(updates))
    return History((agent,), updates, steps, seconds, columns, len(updates))


def complaints(base: str, fault: str) -> list[str]:
    """Names of the rules that apply."""
    return [finding.rule.name for finding in examine(*trained(base)[fault]).findings]


def test_a_single_action_is_no_fault_of_a_rule() -> None:
    """log 1 = 0: there is no entropy to compare with."""
    config, history, arrays = trained("cartpole")["tiny steps"]
    arrays = {
        name: array[..., :1] if "policy_head" in name else array for name, array in arrays.items()
    }
    entropy = np.zeros_like(history.metrics["entropy"])
    history = dataclasses.replace(history, metrics={**history.metrics, "entropy": entropy})
    findings, failures = examine(config, history, arrays)
    assert failures == []
    assert not any("entropy" in finding.rule.name for finding in findings)


@pytest.mark.parametrize(
    ("base", "fault", "rule"),
    [
        ("cartpole", "tiny steps", "the learning rate is too small"),
        ("cartpole", "tiny steps", "the return has not improved"),
        ("cartpole", "huge steps", "the learning rate is too large"),
        ("cartpole", "huge steps", "entropy collapsed early"),
        ("cartpole", "huge steps", "returns are flat while entropy falls"),
        ("cartpole", "wide clip", "the clip never acts"),
        ("cartpole", "narrow clip", "the clip acts nearly always"),
        ("cartpole", "huge steps", "the KL divergence explodes"),
        ("pendulum", "no time limit", "no episode ended"),
        ("pendulum", "huge value loss", "the gradient norm is always at the clip"),
        ("pendulum", "untrained critic", "the critic explains nothing"),
    ],
)
def test_faults_are_seen(base: str, fault: str, rule: str) -> None:
    assert rule in complaints(base, fault)


def test_nothing_is_said_of_a_healthy_agent_nor_a_fault_taken_for_its_opposite() -> None:
    assert complaints("cartpole", "nothing") == []
    assert "the learning rate is too large" not in complaints("cartpole", "tiny steps")
    assert "the learning rate is too small" not in complaints("cartpole", "huge steps")
    assert "the clip acts nearly always" not in complaints("cartpole", "wide clip")


def test_a_task_that_is_solved_is_no_fault() -> None:
    """Late episodes have the highest return of all; if all had it, nothing would be known."""
    config, history, arrays = trained("cartpole")["tiny steps"]
    flat = "the return has not improved"
    for first, names in ((20.0, []), (500.0, [flat])):
        returns = np.full_like(history.metrics["episode_return"], 500.0)
        returns[0] = first
        metrics = {**history.metrics, "episode_return": returns}
        findings, _ = examine(config, dataclasses.replace(history, metrics=metrics), arrays)
        assert [f.rule.name for f in findings if f.rule.name == flat] == names


def corridor(limit_inside: bool = False, limit_as_end: bool = False, **params: float) -> PPOConfig:
    return PPOConfig(
        env_id="DoctorCorridor-v0",
        env_params={"scale": 1.0, "reward": 1.0, **params},
        env_kwargs={"limit_inside": limit_inside, "limit_as_end": limit_as_end},
        total_steps=60 * 64,
        num_envs=4,
        num_steps=16,
    )


def examined(config: PPOConfig, env: Environment | None = None) -> list[str]:
    """Train for a moment, then apply every rule; `env` is probed, or that of the config."""
    state, metrics = jax.jit(train_agents)(jax.random.key(0)[None], config)
    probe = probe_environment(env or make_env(config))
    found = examine(config, history_of(metrics, config, 0), to_arrays(state), probe)
    return [finding.rule.name for finding in found.findings]


@pytest.mark.parametrize(
    ("kwargs", "changes", "rule"),
    [
        ({"scale": 1e4}, {}, "observations of wildly different scale"),
        ({"reward": 1e4}, {}, "rewards of huge scale"),
        ({"reward": 0.0}, {}, "advantages vanish"),
        ({"limit_inside": True}, {}, "truncation is mishandled by the environment"),
        ({"limit_as_end": True}, {}, "truncation is mishandled by the environment"),
        ({"reward": 100.0}, {"shared_trunk": True}, "the value loss dominates the shared trunk"),
    ],
)
def test_faults_of_the_environment_are_seen(
    kwargs: dict[str, Any], changes: dict[str, Any], rule: str
) -> None:
    assert rule in examined(corridor(**kwargs).replace(**changes))


def test_advantages_that_are_all_alike() -> None:
    """An agent that does not improve, while its advantages are all alike."""
    config, history, arrays = trained("cartpole")["tiny steps"]
    metrics = {**history.metrics, "advantage_std": np.full((config.num_updates, 1), 1e-6)}
    found = examine(config, dataclasses.replace(history, metrics=metrics), arrays)
    assert "advantages vanish" in [finding.rule.name for finding in found.findings]
    assert "advantages vanish" not in complaints("cartpole", "tiny steps")


def test_no_fault_of_the_environment() -> None:
    environment_rules = [rule.name for rule in RULES if "probe" in rule.needs]
    assert len(environment_rules) == 3
    assert not set(examined(corridor())) & set(environment_rules)


@pytest.mark.parametrize("env_id", ["Pendulum-v1", "DeepSea-bsuite"])
def test_environments_of_every_kind_can_be_examined(env_id: str) -> None:
    """Continuous actions; observations of two axes."""
    env = make_env(PPOConfig(env_id=env_id))
    probe = probe_environment(env)
    assert probe.num_episodes > 0
    assert 0 < probe.obs_scales.size <= np.prod(env.observation_space.shape)


def test_normalization_is_the_remedy() -> None:
    config = corridor(scale=1e4, reward=1e4)
    cured = config.replace(normalize_observations=True, normalize_rewards=True)
    names = {"observations of wildly different scale", "rewards of huge scale"}
    assert names <= set(examined(config))
    assert not names & set(examined(cured))


def test_the_final_observation_of_a_truncated_episode_is_that_of_the_reset() -> None:
    """What a step function gives that resets before it looks."""
    config = corridor()
    env = make_env(config)

    def step(*arguments: Any) -> Any:
        stepped = env.step(*arguments)
        return stepped._replace(next_obs=stepped.obs)

    wrong = dataclasses.replace(env, step=step)
    assert "truncation is mishandled by the environment" in examined(config, wrong)


def test_every_rule_has_a_source_and_advice() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES) >= 15
    for rule in RULES:
        assert "https://" in rule.source or "http://" in rule.source
        assert rule.advice.endswith(".")


def test_a_rule_that_raises_is_a_note_and_the_others_are_applied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fail = Mock(side_effect=KeyError("a metric\nthat is missing"))
    broken = RULES[0]._replace(name="broken", check=fail)
    monkeypatch.setattr(rules, "RULES", (broken, *RULES))
    findings, failures = examine(*trained("cartpole")["tiny steps"])
    assert [finding.rule.name for finding in findings] == complaints("cartpole", "tiny steps")
    (failure,) = failures
    assert failure.startswith("the rule 'broken' failed: KeyError")
    assert "\n" not in failure


@pytest.mark.parametrize("algorithm_fn", [partial(ppo, loss_fn=a2c_loss), trpo])
def test_metrics_that_an_algorithm_does_not_measure(algorithm_fn: AlgorithmFn) -> None:
    """Rules that need approx_kl, clip_fraction or entropy are not applied; the others are."""
    config = CARTPOLE.replace(total_steps=20 * 512, learning_rate=0.0, max_grad_norm=1e-9)
    train = jax.jit(train_agents, static_argnames="algorithm_fn")
    state, metrics = train(jax.random.key(0)[None], config, algorithm_fn=algorithm_fn)
    history = history_of(metrics, config, 0)
    assert "clip_fraction" not in history.metrics
    findings, failures = examine(config, history, to_arrays(state))
    assert failures == []
    assert all(finding.rule.needs <= set(history.metrics) for finding in findings)


def test_command(finished_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Twelve updates are too few to show a trend."""
    assert main(["doctor", str(finished_run.path)]) == 0
    assert "fewer than 20 show no trend" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["doctor"], ["doctor", "nowhere"], ["report", "nowhere"]])
def test_mistakes(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(list(words)) == 2
    assert capsys.readouterr().err.startswith(("error:", " Required"))
