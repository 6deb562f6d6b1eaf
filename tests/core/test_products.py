"""The dense layer's product: the plain one, to any order of differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_ppo.kernels.products import FEW_COLUMNS, FEW_GRADIENT_COLUMNS, convolution, dense_product

pytestmark = pytest.mark.usefixtures("full_optimization")

COLUMNS = (1, FEW_COLUMNS, FEW_GRADIENT_COLUMNS, FEW_GRADIENT_COLUMNS + 1, 30)


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


IMAGES = [(7, 6, 3, 1), (7, 6, 3, 2), (9, 9, 2, 3), (3, 3, 3, 1), (5, 4, 1, 1)]
"""Height, width, kernel size, stride."""


def plain_convolution(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@pytest.mark.parametrize(("height", "width", "size", "stride"), IMAGES)
def test_convolution_equals_that_of_xla(height: int, width: int, size: int, stride: int) -> None:
    x = jax.random.normal(jax.random.key(0), (5, height, width, 4))
    kernel = jax.random.normal(jax.random.key(1), (size, size, 4, 6)) / 10

    def loss(function: object, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jnp.sum(jnp.tanh(function(x, kernel, stride)) ** 2)  # type: ignore[operator]

    out = convolution(x, kernel, stride)
    np.testing.assert_allclose(out, plain_convolution(x, kernel, stride), rtol=1e-4, atol=1e-5)
    for got, expected in zip(
        jax.grad(loss, argnums=(1, 2))(convolution, x, kernel),
        jax.grad(loss, argnums=(1, 2))(plain_convolution, x, kernel),
        strict=True,
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_convolution_by_hand() -> None:
    """One channel, a kernel of ones: every output is the sum of a 2 x 2 patch, two apart."""
    image = jnp.arange(20.0).reshape(1, 4, 5, 1)
    out = convolution(image, jnp.ones((2, 2, 1, 1)), 2)[0, :, :, 0]
    np.testing.assert_array_equal(out, [[0 + 1 + 5 + 6, 2 + 3 + 7 + 8], [52, 60]])
