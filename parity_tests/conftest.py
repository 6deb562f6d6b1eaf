"""Strict numerics for every parity test."""

import hypothesis
import jax
import pytest

from parity_tests import PRECISIONS

jax.config.update("jax_numpy_rank_promotion", "raise")
hypothesis.settings.register_profile(
    "parity", deadline=None, derandomize=True, database=None, max_examples=25
)
hypothesis.settings.load_profile("parity")


@pytest.fixture(autouse=True, scope="module")
def compiled_as_users_do(full_optimization: None) -> None:
    """Parity is that of the programs that users run."""


@pytest.fixture(params=PRECISIONS)
def precision(request: pytest.FixtureRequest) -> str:
    """Both floating-point types in turn."""
    return request.param
