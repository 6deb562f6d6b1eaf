"""Where two right-looking implementations differ, each difference checked by its numbers.

One test per entry of the catalogue: what JAX, Flax or Optax does, what PyTorch does under the same
name, what that costs, and that the two packages here agree all the same.
"""

import inspect
import math
from functools import partial
from typing import Any

import flax.linen as nn
import gymnasium
import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.utils import RunningMeanStd
from torch.nn.utils import clip_grad_norm_

import jax_ppo
import torch_ref
from parity_tests.checks.optimizer import BASE
from torch_ref.networks import TORCH_PRECISIONS
from torch_ref.update import RMSPROP_DECAY


def slope(function: Any, x: float) -> float:
    """The derivative of a JAX function."""
    return float(jax.grad(function)(x))


def torch_slope(function: Any, x: float) -> float:
    """The derivative of a PyTorch function."""
    leaf = torch.tensor(x, requires_grad=True)
    function(leaf).backward()
    assert leaf.grad is not None
    return float(leaf.grad)


def packages() -> list[tuple[Any, Any]]:
    """(package, function that makes its arrays)."""
    return [(jax_ppo, jnp.asarray), (torch_ref, torch.tensor)]


class TestStandardDeviation:
    """std divides by n in NumPy and JAX, by n - 1 in PyTorch."""

    def test_value(self) -> None:
        """Of 1, 2, 3, 4: sqrt(5/4) = 1.118 and sqrt(5/3) = 1.291, 15 % apart."""
        numbers = [1.0, 2.0, 3.0, 4.0]
        np.testing.assert_allclose(float(jnp.std(jnp.array(numbers))), math.sqrt(5 / 4), rtol=1e-7)
        np.testing.assert_allclose(float(torch.tensor(numbers).std()), math.sqrt(5 / 3), rtol=1e-7)

    def test_one_sample(self) -> None:
        """0 in JAX; NaN, with a warning, in PyTorch. Here both give an advantage of 0."""
        assert jnp.std(jnp.ones(1)) == 0
        with pytest.warns(UserWarning, match="degrees of freedom is <= 0"):
            assert torch.ones(1).std().isnan()
        for package, array in packages():
            assert package.normalize_advantages(array([3.0])) == 0

    def test_beyond_the_squares(self) -> None:
        """Squares above 3.4e38 overflow in JAX; here too, and so does the value loss of either."""
        for (package, array), expected in zip(packages(), (0.0, 1.0), strict=True):
            numbers = array([1e30, -1e30])
            assert abs(float(package.normalize_advantages(numbers)[0])) == expected
            assert float(package.value_loss(numbers, numbers, 0.0 * numbers)) == math.inf

    def test_slope_where_nothing_varies(self) -> None:
        """0 / 0: JAX gives NaN, PyTorch 0. No gradient of the algorithm passes here."""
        assert jnp.isnan(jax.grad(jnp.std)(jnp.ones(3))).all()
        leaf = torch.ones(3, requires_grad=True)
        torch.std(leaf, correction=0).backward()
        assert leaf.grad is not None
        assert (leaf.grad == 0).all()


class TestGradientClipping:
    """Three things are called clipping."""

    def test_epsilon_in_the_norm(self) -> None:
        """PyTorch divides by |g| + 1e-6: short by 1e-6 / |g|, one part in 5000 where |g| = 5e-3."""
        gradient = np.array([3e-3, 4e-3])
        parameter = torch.zeros(2, dtype=torch.float64).requires_grad_()
        parameter.grad = torch.tensor(gradient)
        clip_grad_norm_([parameter], 1e-3)
        np.testing.assert_allclose(
            float(parameter.grad.norm()) / 1e-3, 1 / (1 + 1e-6 / 5e-3), rtol=1e-12
        )
        clipped = clip_with_both_packages(gradient.astype(np.float32), 1e-3)
        np.testing.assert_allclose(np.linalg.norm(clipped, axis=1), 1e-3, rtol=3e-7)

    def test_elementwise(self) -> None:
        """optax.clip clips each entry: (3, 4) becomes (1, 1), longer than 1 and turned by 8 deg."""
        gradient = jnp.array([3.0, 4.0])
        elementwise, _ = optax.clip(1.0).update(gradient, optax.EmptyState())
        np.testing.assert_array_equal(elementwise, [1.0, 1.0])
        clipped = clip_with_both_packages(np.array([3.0, 4.0], np.float32), 1.0)
        np.testing.assert_allclose(clipped, [[0.6, 0.8]] * 2, rtol=3e-7)


def clip_with_both_packages(gradient: np.ndarray, limit: float) -> np.ndarray:
    """What each package's gradient descent took as its gradient [2, n]."""
    return -np.stack(both_steps(gradient, BASE.replace(optimizer="sgd", max_grad_norm=limit)))


class TestAdam:
    """One name, several places for epsilon and several defaults."""

    def test_epsilon_outside_or_inside_the_root(self) -> None:
        """The first step on g = 1e-4 with eps = 1e-5: g / (g + eps) = 0.91, and 0.032 inside."""
        g, eps = 1e-4, 1e-5
        for where, expected in (("eps", g / (g + eps)), ("eps_root", g / math.sqrt(g**2 + eps))):
            adam = optax.scale_by_adam(**{"eps": 0.0, where: eps})
            step, _ = adam.update(jnp.array(g), adam.init(jnp.array(0.0)))
            np.testing.assert_allclose(float(step), expected, rtol=1e-4)

    def test_both_packages_and_torch_put_it_outside(self) -> None:
        """The same step from optax's chain, from torch_ref and from torch.optim.Adam."""
        for step in first_steps(1e-4, 1e-5):
            np.testing.assert_allclose(step, -1 / 1.1, rtol=1e-5)

    def test_bias_correction(self) -> None:
        """1 - 0.999^t is taken in float32 by optax, in float64 by torch.optim.Adam.

        float32(0.999) is 1.3e-8 too large, so 1 - 0.999 is 1.3e-5 too small in relative terms, and
        the first step of Adam 6.4e-6 too short: a hundred ulp. torch_ref does as optax does.
        """
        in_float32 = math.sqrt((1.0 - float(np.float32(0.999))) / 0.001)
        from_optax, from_reference, from_torch = first_steps(1.0, 0.0)
        assert 1 - in_float32 == pytest.approx(6.4e-6, rel=0.01)
        np.testing.assert_allclose(from_optax, -in_float32, rtol=3e-7)
        np.testing.assert_allclose(from_reference, -in_float32, rtol=3e-7)
        np.testing.assert_allclose(from_torch, -1.0, rtol=3e-7)

    def test_default_epsilon(self) -> None:
        """1e-8 in both libraries; 1e-5 here, as in the reference implementations of PPO."""
        assert default_of(optax.adam, "eps") == default_of(torch.optim.Adam, "eps") == 1e-8
        assert jax_ppo.PPOConfig().adam_eps == 1e-5

    def test_default_weight_decay(self) -> None:
        """AdamW decays by 1e-4 in optax and by 1e-2 in PyTorch, and not at all here by default."""
        assert default_of(optax.adamw, "weight_decay") == 1e-4
        assert default_of(torch.optim.AdamW, "weight_decay") == 1e-2
        assert jax_ppo.PPOConfig(optimizer="adamw").weight_decay == 0


class TestRMSProp:
    """Where epsilon is, and how fast the second moment forgets."""

    def test_epsilon(self) -> None:
        """g = 0.01, eps = 1e-5: v = 1e-6, a step of g / (1e-3 + eps) or g / sqrt(1e-6 + eps)."""
        g, eps = 0.01, 1e-5
        inside = optax.scale_by_rms(decay=0.99, eps=eps)
        step, _ = inside.update(jnp.array(g), inside.init(jnp.array(0.0)))
        np.testing.assert_allclose(float(step), g / math.sqrt(1e-6 + eps), rtol=1e-5)
        config = BASE.replace(optimizer="rmsprop")
        for beside in first_steps(g, eps, config, torch.optim.RMSprop):
            np.testing.assert_allclose(beside, -g / (1e-3 + eps), rtol=1e-5)

    def test_decay(self) -> None:
        """0.9 in optax, 0.99 in PyTorch and here."""
        assert default_of(optax.rmsprop, "decay") == 0.9
        assert default_of(torch.optim.RMSprop, "alpha") == RMSPROP_DECAY == 0.99


def default_of(function: Any, name: str) -> Any:
    """The default of a parameter."""
    return inspect.signature(function).parameters[name].default


def both_steps(gradient: Any, config: Any) -> tuple[Any, Any]:
    """The first step at learning rate 1 of `jax_ppo` and of `torch_ref`."""
    optimizer = jax_ppo.make_optimizer(config, 1.0)
    zeros = jnp.zeros(np.shape(gradient))
    step, _ = optimizer.update(jnp.array(gradient), optimizer.init(zeros), zeros)
    reference = torch_ref.make_optimizer(config, 1.0)
    params = {"x": torch.zeros(np.shape(gradient))}
    steps, _ = reference.update({"x": torch.tensor(gradient)}, reference.init(params), params)
    return step, steps["x"]


def first_steps(
    g: float, eps: float, config: Any = BASE, theirs: Any = torch.optim.Adam
) -> tuple[float, ...]:
    """The first step at learning rate 1 of `jax_ppo`, `torch_ref` and torch.optim."""
    parameter = torch.zeros((), requires_grad=True)
    parameter.grad = torch.tensor(g)
    theirs([parameter], lr=1.0, eps=eps).step()
    ours = both_steps(g, config.replace(adam_eps=max(eps, 1e-30)))
    return tuple(map(float, (*ours, parameter.detach())))


class TestSlopesAtTies:
    """Where a function has no derivative each library chooses one."""

    def test_clip_edges(self) -> None:
        """jnp.clip passes half of the slope, torch.clamp all of it."""
        assert slope(lambda x: jnp.clip(x, 0.0, 1.0), 1.0) == 0.5
        assert torch_slope(lambda x: torch.clamp(x, 0.0, 1.0), 1.0) == 1.0

    def test_ties_of_minimum(self) -> None:
        """Half to each argument, in both."""
        assert slope(lambda x: jnp.minimum(x, 1.0), 1.0) == 0.5
        assert torch_slope(lambda x: torch.minimum(x, torch.tensor(1.0)), 1.0) == 0.5

    def test_relu(self) -> None:
        """Relu is 0 at 0 in both, although maximum(x, 0) is 1/2."""
        assert slope(jax.nn.relu, 0.0) == torch_slope(torch.relu, 0.0) == 0.0
        assert slope(lambda x: jnp.maximum(x, 0.0), 0.0) == 0.5

    def test_the_clipped_surrogate_agrees(self) -> None:
        """At a ratio of 1 with a band of no width both packages give 5/8 of -A."""
        for derivative, side in zip((slope, torch_slope), packages(), strict=True):
            assert derivative(partial(surrogate, *side), 0.0) == -0.625


def surrogate(package: Any, array: Any, log_prob: Any) -> Any:
    """The clipped surrogate of one sample whose old log-probability is 0, with clip_eps = 0."""
    return package.clipped_surrogate_loss(log_prob.reshape(1), array([0.0]), array([1.0]), 0.0)


class TestLosses:
    """Factors that a name does not show."""

    def test_one_half(self) -> None:
        """An error of 3: optax.l2_loss is 9/2, torch's mse_loss 9; the value loss here is 9/2."""
        assert optax.l2_loss(jnp.array(3.0)) == 4.5
        assert torch.nn.functional.mse_loss(torch.tensor(3.0), torch.tensor(0.0)) == 9.0
        for package, array in packages():
            assert package.value_loss(array([3.0]), array([0.0]), array([0.0])) == 4.5


class TestLayouts:
    """Where the axes are."""

    def test_dense(self) -> None:
        """Flax keeps kernels [in, out], PyTorch weights [out, in]."""
        params = nn.Dense(3).init(jax.random.key(0), jnp.zeros((1, 2)))
        assert params["params"]["kernel"].shape == (2, 3)
        assert torch.nn.Linear(2, 3).weight.shape == (3, 2)

    def test_convolution(self) -> None:
        """[height, width, in, out] over NHWC images; [out, in, height, width] over NCHW."""
        params = nn.Conv(3, (4, 5)).init(jax.random.key(0), jnp.zeros((1, 8, 8, 2)))
        assert params["params"]["kernel"].shape == (4, 5, 2, 3)
        assert torch.nn.Conv2d(2, 3, (4, 5)).weight.shape == (3, 2, 4, 5)

    def test_padding(self) -> None:
        """Flax pads a convolution by default, PyTorch does not: 5 x 5 stays, or becomes 3 x 3."""
        conv = nn.Conv(1, (3, 3))
        image = jnp.zeros((1, 5, 5, 1))
        padded: Any = conv.apply(conv.init(jax.random.key(0), image), image)
        assert padded.shape == (1, 5, 5, 1)
        assert torch.nn.Conv2d(1, 1, 3)(torch.zeros(1, 1, 5, 5)).shape == (1, 1, 3, 3)

    def test_flatten_order(self) -> None:
        """Pixels (0, 0) and (0, 1) with channels a and b flatten to aabb in NCHW, abab in NHWC."""
        image = np.array([[[["a", "b"], ["a", "b"]]]])  # [batch, height, width, channel]
        assert "".join(image.reshape(-1)) == "abab"
        assert "".join(image.transpose(0, 3, 1, 2).reshape(-1)) == "aabb"


class TestInitializers:
    """What a layer starts with by default."""

    FAN_IN = 400

    def test_weights(self) -> None:
        """Variance 1 / in from flax (lecun_normal), 1 / (3 in) from PyTorch (uniform)."""
        params = nn.Dense(500).init(jax.random.key(0), jnp.zeros((1, self.FAN_IN)))["params"]
        torch.manual_seed(0)
        layer = torch.nn.Linear(self.FAN_IN, 500)
        # 200,000 entries: the variance is known to a relative sqrt(2 / 200,000) = 0.3 %.
        np.testing.assert_allclose(jnp.var(params["kernel"]) * self.FAN_IN, 1.0, rtol=0.015)
        np.testing.assert_allclose(
            float(layer.weight.detach().var(correction=0)) * self.FAN_IN, 1 / 3, rtol=0.015
        )

    def test_biases(self) -> None:
        """Zero in flax, as wide as the weights in PyTorch."""
        params = nn.Dense(500).init(jax.random.key(0), jnp.zeros((1, self.FAN_IN)))["params"]
        assert (params["bias"] == 0).all()
        layer = torch.nn.Linear(self.FAN_IN, 500)
        assert 0.9 < float(layer.bias.detach().abs().max()) * math.sqrt(self.FAN_IN) <= 1

    def test_orthogonal_is_the_same_family(self) -> None:
        """Rows of length `gain` at right angles, in both; so that is the default here."""
        matrix = jax.nn.initializers.orthogonal(2.0)(jax.random.key(0), (5, 3))
        np.testing.assert_allclose(matrix.T @ matrix, 4 * np.eye(3), atol=4e-6)
        weight = torch.nn.init.orthogonal_(torch.zeros(3, 5), 2.0)
        np.testing.assert_allclose(weight @ weight.T, 4 * np.eye(3), atol=4e-6)
        assert jax_ppo.PPOConfig().initializer == "orthogonal"


class TestPrecision:
    """What a matrix product is computed in."""

    def test_names(self) -> None:
        """JAX has highest, high, default; PyTorch highest, high, medium: two words are shared."""
        for name in ("highest", "high", "default"):
            with jax.default_matmul_precision(name):
                pass
        with pytest.warns(UserWarning, match="default is not one of"):
            torch.set_float32_matmul_precision("default")
        assert TORCH_PRECISIONS == {"highest": "highest", "high": "high", "default": "high"}

    def test_defaults(self) -> None:
        """PyTorch starts at highest; JAX leaves it to the device, which may round to TF32.

        The config's default is highest.
        """
        assert torch.get_float32_matmul_precision() == "highest"
        assert jax.config.values["jax_default_matmul_precision"] is None
        assert jax_ppo.PPOConfig().matmul_precision == "highest"

    def test_python_numbers(self) -> None:
        """1 - 0.9 is rounded once in Python and PyTorch, and twice where JAX traces the 0.9.

        float32(0.9) is 0.89999998, which leaves 0.10000002: 3 ulp from float32(0.1).
        """
        traced = np.float32(jax.jit(lambda eps: 1.0 - eps)(0.9))
        once = np.float32(1.0 - 0.9)
        assert (traced - once) / np.spacing(once) == 3


class TestCompiledArithmetic:
    """What XLA makes of an expression, and eager PyTorch does not."""

    def test_division_by_a_constant(self) -> None:
        """Under jit x / 73 becomes x * (1 / 73): another float32 for some x; eager JAX divides."""
        numbers = np.arange(73, dtype=np.float32)
        compiled = np.asarray(jax.jit(lambda x: x / 73)(numbers))
        reciprocal = numbers * np.float32(1 / 73)
        np.testing.assert_array_equal(compiled, reciprocal)
        np.testing.assert_array_equal((torch.tensor(numbers) / 73).numpy(), numbers / 73)
        assert (compiled != numbers / 73).sum() > 0

    def test_fused_multiply_and_add(self) -> None:
        """a a - b with a = 1 + 2^-12, b = 1 + 2^-11: 2^-24 if fused, else 0. PyTorch never fuses.

        Whether XLA does depends on the processor, so rounding in a compiled sum of products is not
        reproducible elsewhere.
        """
        a, b = np.float32(1 + 2**-12), np.float32(1 + 2**-11)
        assert float(jax.jit(lambda a, b: a * a - b)(a, b)) in (2.0**-24, 0.0)
        assert float(torch.tensor(a) * torch.tensor(a) - torch.tensor(b)) == 0.0


class TestIndices:
    """Actions, and which of equals is the largest."""

    def test_types(self) -> None:
        """Actions are int32 in JAX and int64 in PyTorch, whose indexing wants nothing else."""
        assert jax_ppo.Categorical(jnp.zeros(3)).mode().dtype == jnp.int32
        assert torch_ref.Categorical(torch.zeros(3)).mode().dtype == torch.int64

    def test_ties(self) -> None:
        """The first of equals, in both (PyTorch promises it only since 1.7)."""
        assert jnp.argmax(jnp.array([1.0, 2.0, 2.0])) == 1
        assert torch.argmax(torch.tensor([1.0, 2.0, 2.0])) == 1

    def test_out_of_range(self) -> None:
        """An action that does not exist: JAX gives NaN, PyTorch raises."""
        for action in (-1, 3):
            assert jnp.isnan(jax_ppo.Categorical(jnp.zeros(3)).log_prob(jnp.array(action)))
            with pytest.raises(RuntimeError, match="out of bounds"):
                torch_ref.Categorical(torch.zeros(3)).log_prob(torch.tensor(action))


class TestSchedules:
    """What is counted."""

    def test_gradient_steps_or_updates(self) -> None:
        """Optax counts gradient steps: after 3 of 10 it is at 0.7; here 3 updates of 10 are."""
        assert float(optax.linear_schedule(1.0, 0.0, 10)(3)) == pytest.approx(0.7, rel=1e-7)
        for package, array in packages():
            assert float(package.scheduled(1.0, "linear", array(3), 10)) == pytest.approx(0.7)


class TestRunningStatistics:
    """How a normalizer starts."""

    def test_pseudo_count(self) -> None:
        """After 3 and 5: mean 4 and variance 1. Gymnasium starts from 1e-4 samples of N(0, 1)."""
        samples = np.array([3.0, 5.0], np.float32)
        theirs = RunningMeanStd(shape=())
        theirs.update(samples)
        assert theirs.mean == pytest.approx(4 * 2 / 2.0001, rel=1e-12)
        assert float(theirs.var) == pytest.approx(1.0008, abs=1e-6)
        for package, array in packages():
            stats = package.update_stats(package.init_stats(()), array(samples))
            assert (float(stats.mean), float(stats.var)) == (4.0, 1.0)


class TestAutoreset:
    """What `step` returns where an episode ends."""

    def test_gymnax(self) -> None:
        """The observation after the reset, and the last one of the episode in `info`."""
        env, params = gymnax.make("CartPole-v1")
        params = params.replace(max_steps_in_episode=1)
        _, state = env.reset(jax.random.key(0), params)
        obs, state, _, terminated, truncated, info = env.step(jax.random.key(1), state, 0, params)
        assert truncated
        assert not terminated
        assert state.time == 0
        assert not np.allclose(obs, info["final_observation"])

    def test_gymnasium(self) -> None:
        """By default the last observation; the next step then resets, whatever the action."""
        env = gymnasium.make_vec(
            "CartPole-v1", num_envs=1, vectorization_mode="sync", max_episode_steps=1
        )
        assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
        env.reset(seed=0)
        last, _, _, truncated, _ = env.step(np.array([1]))
        assert truncated.all()
        fresh, reward, _, _, _ = env.step(np.array([1]))
        assert reward == 0
        assert np.abs(fresh).max() <= 0.05 < np.abs(last).max()

    def test_both_packages_give_both_observations(self) -> None:
        """`obs` to act on, of the new episode; `next_obs` to evaluate, the last of the old one."""
        config = jax_ppo.PPOConfig(num_envs=1, env_params={"max_steps_in_episode": 1})
        sides = [
            (jax_ppo, jax.random.split(jax.random.key(0), 1), jnp.ones(1, jnp.int32)),
            (torch_ref, torch.zeros(1, dtype=torch.int64), torch.ones(1, dtype=torch.int64)),
        ]
        for package, keys, action in sides:
            env = package.make_env(config)
            _, state = env.reset(keys)
            step = env.step(keys, state, action)
            assert abs(step.obs).max() <= 0.05 < abs(step.next_obs).max()
