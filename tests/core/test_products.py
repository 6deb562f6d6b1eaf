"""The dense layer's product: the plain one, to any order of differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_ppo.products import FEW_COLUMNS, dense_product

COLUMNS = (1, FEW_COLUMNS, FEW_COLUMNS + 1, 30)


def loss(product: object, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jnp.sum(jnp.tanh(product(x, kernel)) ** 2)  # type: ignore[operator]


def arrays(columns: int) -> tuple[jax.Array, jax.Array]:
    x_key, kernel_key = jax.random.split(jax.random.key(columns))
    return jax.random.normal(x_key, (11, 7)), jax.random.normal(kernel_key, (7, columns)) / 3


@pytest.mark.parametrize("columns", COLUMNS)
def test_value_and_gradients(columns: int) -> None:
    """By hand: with g = d loss / d (x K), the gradients are g K^T and x^T g."""
    x, kernel = arrays(columns)
    with jax.enable_x64(True):
        x, kernel = x.astype(float), kernel.astype(float)
        out = np.asarray(x) @ np.asarray(kernel)
        g = 2 * np.tanh(out) * (1 - np.tanh(out) ** 2)
        by_x, by_kernel = jax.grad(loss, argnums=(1, 2))(dense_product, x, kernel)
        np.testing.assert_allclose(dense_product(x, kernel), out, rtol=1e-12)
        np.testing.assert_allclose(by_x, g @ np.asarray(kernel).T, rtol=1e-10)
        np.testing.assert_allclose(by_kernel, np.asarray(x).T @ g, rtol=1e-10)


@pytest.mark.parametrize("columns", COLUMNS)
def test_forward_mode_second_order_and_vmap(columns: int) -> None:
    x, kernel = arrays(columns)
    for function in (
        lambda product: jax.jvp(lambda k: product(x, k), (kernel,), (kernel**2,))[1],
        lambda product: jax.hessian(loss, argnums=2)(product, x, kernel),
        lambda product: jax.vmap(jax.grad(loss, argnums=2), in_axes=(None, 0, 0))(
            product, jnp.stack([x, 2 * x]), jnp.stack([kernel, kernel / 2])
        ),
    ):
        np.testing.assert_allclose(
            function(dense_product), function(jnp.matmul), rtol=1e-4, atol=1e-5
        )


def test_rows_must_fit_columns() -> None:
    with pytest.raises(TypeError, match="dot_general"):
        dense_product(jnp.zeros((2, 3)), jnp.zeros((4, 5)))
