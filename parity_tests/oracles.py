"""An independent oracle: the papers' formulas in NumPy and mpmath, written to be exact, not fast.

Nothing here is shared with either implementation, and the structure is another one: explicit sums
in place of recursions, two passes in place of merging, cases in place of minima, mpmath in place of
stable rearrangements. All of it keeps the type of its arguments, so that the widest type gives
differences worth taking. Arrays are NumPy's; logarithms are natural.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import mpmath  # type: ignore[import-untyped]
import numpy as np

from parity_tests.measure import wide

Array = np.ndarray
"""An array of any floating-point type."""
Arrays = dict[str, Array]
"""Arrays by name."""

mp = mpmath.mp.clone()
mp.dps = 40


def from_mp(number: Any) -> Any:
    """A number of mpmath's in the widest type of NumPy."""
    leading = float(number)
    return wide(leading) + wide(float(number - leading)) if np.isfinite(leading) else wide(leading)


PI = from_mp(mp.pi)
"""pi in the widest type."""

# Advantages


def gae(
    rewards: Array,
    values: Array,
    next_values: Array,
    terminated: Array,
    truncated: Array,
    gamma: Any,
    gae_lambda: Any,
) -> tuple[Array, Array]:
    """Advantages sum_l (gamma lambda)^l delta_{t+l}, and returns advantages + values.

    The sum runs to the end of the step's episode, and delta_t = r_t + gamma V(s'_t) - V(s_t), or
    r_t - V(s_t) where the episode terminated. All arrays are [num_steps, num_envs].

    Source: Schulman et al. (2016), equation 16, cut at the end of the episode.
    """
    deltas, advantages = np.zeros_like(rewards), np.zeros_like(rewards)
    for index in np.ndindex(rewards.shape):
        bootstrap = 0 if terminated[index] else gamma * next_values[index]
        deltas[index] = rewards[index] + bootstrap - values[index]
    for t, env in np.ndindex(rewards.shape):
        advantages[t, env] = sum(
            (gamma * gae_lambda) ** (step - t) * deltas[step, env]
            for step in episode_from(terminated, truncated, t, env)
        )
    return advantages, advantages + values


def gae_terms(
    rewards: Array, values: Array, next_values: Array, *others: Any
) -> tuple[Array, Array]:
    """The same sums over absolute values: what their rounding errors are relative to."""
    sums, _ = gae(np.abs(rewards), -np.abs(values), np.abs(next_values), *others)
    return sums, sums + np.abs(values)


def episode_from(terminated: Array, truncated: Array, t: int, env: int) -> list[int]:
    """Steps t, t + 1, ... up to the first that ended an episode, or the last there is."""
    steps = []
    for step in range(t, len(terminated)):
        steps.append(step)
        if terminated[step, env] or truncated[step, env]:
            break
    return steps


def normalized_advantages(advantages: Array) -> Array:
    """(A - mean) / (sqrt(sum (A - mean)^2 / n) + 1e-8)."""
    mean = advantages.sum() / advantages.size
    deviations = advantages - mean
    return deviations / (np.sqrt((deviations**2).sum() / advantages.size) + wide(1e-8))


def normalized_advantages_terms(advantages: Array) -> Array:
    """(|A| + mean |A|) / std, and what the rounding of std and mean does to the quotient."""
    mean = advantages.mean()
    deviations = np.abs(advantages - mean)
    std = np.sqrt((deviations**2).mean()) + wide(1e-8)
    size = np.abs(advantages) + np.abs(advantages).mean()
    return size / std + deviations / std * (1 + (size * deviations).mean() / std**2)


# The loss


def clipped_surrogate_loss(
    log_prob: Array, old_log_prob: Array, advantages: Array, clip_eps: Any
) -> Any:
    """Minus the mean of the clipped objective, sample by sample.

    For a good action (A > 0) the objective is min(r, 1 + eps) A, for a bad one max(r, 1 - eps) A.
    """
    return -np.array(_surrogates(log_prob, old_log_prob, advantages, clip_eps)).mean(axis=0)


def clipped_surrogate_terms(
    log_prob: Array, old_log_prob: Array, advantages: Array, clip_eps: Any
) -> Any:
    """mean(|objective| (1 + |log r|)): the subtraction in log r is rounded before its exponent."""
    objective = np.array(_surrogates(log_prob, old_log_prob, advantages, clip_eps))
    return (np.abs(objective) * (1 + np.abs(log_prob - old_log_prob))).mean(axis=0)


def _surrogates(log_prob: Array, old_log_prob: Array, advantages: Array, clip_eps: Any) -> list:
    """The objective of each sample."""
    samples = []
    for new, old, advantage in zip(log_prob, old_log_prob, advantages, strict=True):
        ratio = np.exp(new - old)
        if advantage >= 0:
            ratio = 1 + clip_eps if ratio > 1 + clip_eps else ratio
        else:
            ratio = 1 - clip_eps if ratio < 1 - clip_eps else ratio
        samples.append(ratio * advantage)
    return samples


def value_loss(values: Array, old_values: Array, returns: Array, value_clip_eps: Any = None) -> Any:
    """Half the mean of each sample's squared error, or of the larger of it and the clipped one."""
    errors = []
    for value, old, target in zip(values, old_values, returns, strict=True):
        error = (value - target) ** 2
        if value_clip_eps is not None:
            moved = min(max(value, old - value_clip_eps), old + value_clip_eps)
            error = max(error, (moved - target) ** 2)
        errors.append(error)
    return np.array(errors).sum(axis=0) / len(errors) / 2


def value_loss_terms(
    values: Array, old_values: Array, returns: Array, value_clip_eps: Any = None
) -> Any:
    """Mean of (|V| + |V_old| + |R|) |error|: differences are rounded before they are squared."""
    size = np.abs(values) + np.abs(old_values) + np.abs(returns)
    error = np.abs(values - returns)
    if value_clip_eps is not None:
        error = error + np.abs(old_values - returns) + value_clip_eps
    return (size * error).mean()


# Distributions, in 40 digits


def categorical_log_prob(logits: Array, action: Array) -> Array:
    """log(exp(l_a) / sum_i exp(l_i)) [...], for logits [..., num_actions]."""
    return _per_row(lambda row, a: mp.log(_softmax(row)[int(a)]), logits, action)


def categorical_entropy(logits: Array) -> Array:
    """-sum_i p_i log p_i [...]."""
    return _per_row(lambda row: -_expected_log(_softmax(row), _softmax(row)), logits)


def categorical_kl(logits: Array, other_logits: Array) -> Array:
    """sum_i p_i log(p_i / q_i) [...]."""
    return _per_row(
        lambda p, q: mp.fsum(
            a * mp.log(a / b) for a, b in zip(_softmax(p), _softmax(q), strict=True)
        ),
        logits,
        other_logits,
    )


def gaussian_log_prob(mean: Array, log_std: Array, action: Array) -> Array:
    """Logarithm of prod_k exp(-(a_k - m_k)^2 / 2 s_k^2) / (s_k sqrt(2 pi)) [...]."""
    return _per_row(lambda m, s, a: mp.fsum(map(_log_density, m, s, a)), mean, log_std, action)


def gaussian_entropy(mean: Array, log_std: Array) -> Array:
    """sum_k log(s_k sqrt(2 pi e)) [...]."""
    return _per_row(
        lambda _, s: mp.fsum(x + mp.log(2 * mp.pi * mp.e) / 2 for x in s), mean, log_std
    )


def gaussian_kl(mean: Array, log_std: Array, other_mean: Array, other_log_std: Array) -> Array:
    """E_p[log p - log q] [...]: minus p's entropy, minus the expected log-density under q."""
    arrays = mean, log_std, other_mean, other_log_std
    return _per_row(lambda *rows: mp.fsum(map(_gaussian_divergence, *rows)), *arrays)


def categorical_choices(logits: Array, noise: Array) -> tuple[Array, Array]:
    """Actions with the largest logit plus noise, and with the largest logit."""
    return (
        np.array([_first_largest(row) for row in logits + noise]),
        np.array([_first_largest(row) for row in logits]),
    )


def gaussian_choices(mean: Array, log_std: Array, noise: Array) -> tuple[Array, Array]:
    """Means plus noise times exp(log_std), and means."""
    return mean + np.exp(log_std) * noise, mean


# Sums of absolute values of the terms, for the rounding errors of the distributions' formulas


def categorical_log_prob_terms(logits: Array, action: Array) -> Array:
    """The spread of a row's logits: what is subtracted before anything else."""
    return 1 + logits.max(axis=-1) - logits.min(axis=-1)


def categorical_entropy_terms(logits: Array) -> Array:
    """1 + H: the probabilities are quotients by a sum of size 1, so log p has errors of eps."""
    return 1 + categorical_entropy(logits)


def categorical_kl_terms(logits: Array, other_logits: Array) -> Array:
    """sum_i p_i (|log p_i| + |log q_i| and the spreads of both rows)."""
    spread = np.ptp(logits, axis=-1) + np.ptp(other_logits, axis=-1)
    return 2 * (1 + spread)


def gaussian_log_prob_terms(mean: Array, log_std: Array, action: Array) -> Array:
    """sum_k [z^2 (1 + |log_std| + (|a| + |m|) / |a - m|) + |log_std| + 1]."""
    z = (action - mean) / np.exp(log_std)
    rounding = (np.abs(action) + np.abs(mean)) / np.exp(log_std)
    return (z**2 * (1 + np.abs(log_std)) + np.abs(z) * rounding + np.abs(log_std) + 1).sum(axis=-1)


def gaussian_entropy_terms(mean: Array, log_std: Array) -> Array:
    """sum_k [|log_std_k| + (1 + log(2 pi)) / 2]."""
    return (np.abs(log_std) + 1.5).sum(axis=-1)


def gaussian_kl_terms(
    mean: Array, log_std: Array, other_mean: Array, other_log_std: Array
) -> Array:
    """sum_k of the formula's terms, each times what its exponent was rounded by."""
    exponents = 1 + np.abs(log_std) + np.abs(other_log_std)
    variance_ratio = np.exp(2 * (log_std - other_log_std))
    shift = (np.abs(mean) + np.abs(other_mean)) ** 2 / np.exp(2 * other_log_std)
    return (exponents * (1 + variance_ratio + shift)).sum(axis=-1)


def gaussian_choices_terms(mean: Array, log_std: Array, noise: Array) -> tuple[Array, Array]:
    """|mean| + std |noise| (1 + |log_std|), and |mean|."""
    size = np.exp(log_std) * np.abs(noise) * (1 + np.abs(log_std))
    return np.abs(mean) + size, np.abs(mean)


def _first_largest(row: Array) -> int:
    return min(i for i, x in enumerate(row) if x == max(row))


def _softmax(logits: Sequence[Any]) -> list:
    powers = [mp.exp(x) for x in logits]
    total = mp.fsum(powers)
    return [power / total for power in powers]


def _expected_log(p: list, q: list) -> Any:
    return mp.fsum(a * mp.log(b) for a, b in zip(p, q, strict=True))


def _log_density(mean: Any, log_std: Any, action: Any) -> Any:
    return -((action - mean) ** 2) / (2 * mp.exp(log_std) ** 2) - log_std - mp.log(2 * mp.pi) / 2


def _gaussian_divergence(mean: Any, log_std: Any, other_mean: Any, other_log_std: Any) -> Any:
    entropy = log_std + mp.log(2 * mp.pi * mp.e) / 2
    square = mp.exp(log_std) ** 2 + (mean - other_mean) ** 2
    scaled = square / (2 * mp.exp(other_log_std) ** 2)
    return scaled + other_log_std + mp.log(2 * mp.pi) / 2 - entropy


def _per_row(function: Callable[..., Any], *arrays: Array) -> Array:
    """A function of rows (the last axis) in 40 digits, over all leading axes."""
    batch_shape = arrays[0].shape[:-1]
    result = np.zeros(batch_shape, wide)
    for index in np.ndindex(batch_shape):
        result[index] = from_mp(function(*(_to_mp(array[index]) for array in arrays)))
    return result


def _to_mp(numbers: Any) -> Any:
    """Numbers of the widest type as mpmath's, exactly: the leading double, then the rest of it."""
    if np.ndim(numbers) > 0:
        return [_to_mp(number) for number in numbers]
    leading = float(numbers)
    return mp.mpf(leading) + mp.mpf(float(wide(numbers) - wide(leading)))


# Diagnostics


def approx_kl(log_ratio: Array) -> Any:
    """mean(r - 1 - log r), the power series summed in 40 digits."""
    terms = [mp.expm1(x) - x for x in map(_to_mp, log_ratio.ravel())]
    return from_mp(mp.fsum(terms) / len(terms))


def approx_kl_terms(log_ratio: Array) -> Any:
    """mean(|r - 1| + |log r|): the two nearly cancel where r is near 1."""
    return (np.abs(np.expm1(log_ratio)) + np.abs(log_ratio)).mean()


def clip_fraction(ratio: Array, clip_eps: Any) -> Any:
    """Samples outside [1 - eps, 1 + eps], counted, over all."""
    inside = sum(1 for r in ratio.ravel() if 1 - clip_eps <= r <= 1 + clip_eps)
    return wide(ratio.size - inside) / ratio.size


def explained_variance(values: Array, returns: Array) -> Any:
    """1 - sum((e - mean(e))^2) / sum((R - mean(R))^2) with e = R - V; 0 if R is constant."""
    total = _spread(returns)
    return wide(0) if total == 0 else 1 - _spread(returns - values) / total


def explained_variance_terms(values: Array, returns: Array) -> Any:
    """1 + Var(e) / Var(R), plus what rounding of R - V and of its mean contributes."""
    total = _spread(returns)
    if total == 0:
        return wide(0)
    error = returns - values
    size = np.abs(returns) + np.abs(values) + np.abs(error).mean()
    rounding = (size * np.abs(error - error.mean())).sum() + (returns**2).sum() / returns.size
    ratio = _spread(error) / total
    of_returns = (np.abs(returns) * np.abs(returns - returns.mean())).sum() / total
    return 1 + ratio + rounding / total + ratio * of_returns


def _spread(numbers: Array) -> Any:
    return ((numbers - numbers.sum() / numbers.size) ** 2).sum()


# Running statistics and schedules


def stream_statistics(batches: Sequence[Array]) -> tuple[Array, Array, Any]:
    """Mean, variance (ddof 0) and count of all samples together, in two passes over the stream."""
    stream = np.concatenate(list(batches))
    mean = stream.sum(axis=0) / len(stream)
    variance = ((stream - mean) ** 2).sum(axis=0) / len(stream)
    return mean, variance, wide(len(stream))


def normalized(mean: Array, variance: Array, values: Array, clip: Any) -> Array:
    """(x - mean) / sqrt(variance + 1e-8), each brought back to +-clip if beyond it."""
    return _limited((values - mean) / np.sqrt(variance + wide(1e-8)), clip)


def scaled(variance: Any, values: Array, clip: Any) -> Array:
    """Each x / sqrt(variance + 1e-8), brought back to +-clip if beyond it."""
    return _limited(values / np.sqrt(variance + wide(1e-8)), clip)


def _limited(values: Array, clip: Any) -> Array:
    return np.where(values > clip, clip, np.where(values < -clip, -clip, values))


SCHEDULES: dict[str, Callable[..., Any]] = {
    "constant": lambda initial, update, num_updates: initial,
    # The coefficient's share of the updates that are not yet done.
    "linear": lambda initial, update, num_updates: initial * (num_updates - update) / num_updates,
    # c cos^2(pi update / 2N), which is c (1 + cos(pi update / N)) / 2.
    "cosine": lambda initial, update, num_updates: (
        initial * np.cos(PI * update / (2 * num_updates)) ** 2
    ),
    # A schedule of a user's own.
    "harmonic": lambda initial, update, num_updates: initial / (1 + update),
}
"""(coefficient, update, num_updates) -> the coefficient at that update, by name."""


def warmup(share: Any, update: Any, num_updates: int) -> Any:
    """Updates begun over those of the warm-up, share * N, until all of these are done; then 1."""
    begun, length = wide(update + 1), share * num_updates
    return begun / length if begun < length else wide(1)


def adapted_kl_coef(kl_coef: Any, kl: Any, kl_target: Any) -> Any:
    """Twice the coefficient, half of it, or itself (Schulman et al. 2017, section 4)."""
    factor = 2 if 2 * kl > 3 * kl_target else 0.5 if 3 * kl < 2 * kl_target else 1
    return min(max(kl_coef * wide(factor), wide(2.0**-20)), wide(2.0**20))


# Optimizer


def clipped_by_norm(gradients: Arrays, limit: Any) -> tuple[Arrays, Any]:
    """(gradients shortened to `limit` if longer, their length before), as one long vector."""
    vector = np.concatenate([gradient.ravel() for gradient in gradients.values()])
    norm = np.sqrt((vector * vector).sum())
    factor = limit / norm if limit is not None and norm > limit else 1
    return {name: gradient * factor for name, gradient in gradients.items()}, norm


def adam(
    params: Arrays,
    gradients: Sequence[Arrays],
    rates: Sequence[Any],
    *,
    eps: Any,
    weight_decay: Any,
    eps_root: Any = 0.0,
) -> tuple[Arrays, dict[str, Any]]:
    """Parameters, and count and both moments, after a sequence of gradients.

    The moments are the explicit sums (1 - b) sum_i b^(t - i) g_i^p, not recursions.

    Source: Kingma and Ba (2015), algorithm 1 with equations 1 to 4 for the sums; decay: Loshchilov
    and Hutter (2019), algorithm 2.
    """
    params = {name: value.astype(wide) for name, value in params.items()}
    b1, b2 = wide(0.9), wide(0.999)
    first, second = ({name: np.zeros_like(value) for name, value in params.items()} for _ in "mv")
    for t, rate in enumerate(rates, start=1):
        for name in params:
            history = _history(gradients[:t], name)
            first[name] = (1 - b1) * _decayed_sum(history, b1)
            second[name] = (1 - b2) * _decayed_sum(history**2, b2)
            m_hat, v_hat = first[name] / (1 - b1**t), second[name] / (1 - b2**t)
            step = m_hat / (np.sqrt(v_hat + eps_root) + eps) + weight_decay * params[name]
            params[name] = params[name] - rate * step
    return params, {"mu": first, "nu": second, "count": np.asarray(len(rates))}


def rmsprop(
    params: Arrays, gradients: Sequence[Arrays], rates: Sequence[Any], *, eps: Any, **_: Any
) -> tuple[Arrays, dict[str, Any]]:
    """Parameters and the second moment, 0.01 sum_i 0.99^(t - i) g_i^2.

    Source: Tieleman and Hinton (2012), lecture 6.5; the decay is that of Mnih et al. (2016).
    """
    params = {name: value.astype(wide) for name, value in params.items()}
    second = {name: np.zeros_like(value) for name, value in params.items()}
    decay = wide(0.99)
    for t, rate in enumerate(rates, start=1):
        for name in params:
            history = _history(gradients[:t], name)
            second[name] = (1 - decay) * _decayed_sum(history**2, decay)
            params[name] = params[name] - rate * history[-1] / (np.sqrt(second[name]) + eps)
    return params, {"nu": second}


def descent(
    params: Arrays, gradients: Sequence[Arrays], rates: Sequence[Any], *, decay: Any, **_: Any
) -> tuple[Arrays, dict[str, Any]]:
    """Parameters theta - sum_t rate_t trace_t, and trace_t = sum_i decay^(t - i) g_i.

    Source: Polyak (1964), "Some methods of speeding up the convergence of iteration methods".
    """
    params = {name: value.astype(wide) for name, value in params.items()}
    trace = {name: np.zeros_like(value) for name, value in params.items()}
    for t, rate in enumerate(rates, start=1):
        trace = {n: _decayed_sum(_history(gradients[:t], n), wide(decay)) for n in params}
        params = {name: value - rate * trace[name] for name, value in params.items()}
    return params, {"trace": trace} if decay else {}


OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "adam": adam,
    "adamw": adam,
    "rmsprop": rmsprop,
    "sgd": partial(descent, decay=0.0),
    "momentum": partial(descent, decay=0.9),
}
"""By the names that a config gives them, and a user's own."""


def _history(gradients: Sequence[Arrays], name: str) -> Array:
    """One parameter's gradients [steps, ...] in the widest type."""
    return np.stack([step[name] for step in gradients]).astype(wide)


def _decayed_sum(history: Array, decay: Any) -> Array:
    """sum_i b^(t - i) x_i over the first axis."""
    weights = decay ** np.arange(len(history))[::-1]
    return (weights.reshape(-1, *(1,) * (history.ndim - 1)) * history).sum(axis=0)
