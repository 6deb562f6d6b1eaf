"""Works, ratios and counts of operations against hand-worked values."""

import json

import pytest

from benchmarks.ceiling import (
    Product,
    Sizes,
    advantage_products,
    count_flops,
    count_parameters,
    forward_products,
    gradient_products,
    rollout_products,
    sizes_of,
    update_bytes,
    update_products,
)
from benchmarks.compare import first_reached, ratios, spread
from benchmarks.peers import OURS, find_peer
from benchmarks.work import NARROW, WORKS, Work, find_work

SIZES = Sizes(
    policy=(2, 3, 2), value=(2, 3, 1), num_envs=5, num_steps=4, update_epochs=3, num_minibatches=2
)


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
def test_fields_that_an_adapter_gets(work: Work) -> None:
    fields = json.loads(work.to_json())
    assert fields.pop("num_seeds") == work.num_agents
    assert Work(**{**fields, "hidden_sizes": tuple(fields["hidden_sizes"])}) == work


def test_env_steps_by_hand() -> None:
    assert NARROW.env_steps == 4 * 128 * 800
    assert find_work("agents64", num_updates=3).env_steps == 64 * 4 * 128 * 3
    assert NARROW.lasting(1000).num_updates == 2
    assert NARROW.lasting(1).num_updates == 1


def test_a_run_that_is_not_compiled_has_fewer_updates() -> None:
    eager = find_peer("stable_baselines3")
    assert eager.share_of(NARROW).num_updates == 10
    assert eager.share_of(find_work("narrow", 2)).num_updates == 2
    assert OURS.share_of(NARROW) == NARROW
    able = [work.name for work in WORKS if eager.can_do(work)]
    assert able == ["narrow", "wide", "envs4096"]


def test_spread_and_ratios_by_hand() -> None:
    found = ratios([10.0, 30.0, 12.0], [5.0, 10.0, 24.0])
    assert found.values == (2.0, 3.0, 0.5)
    assert (found.median, found.low, found.high) == (2.0, 0.5, 3.0)
    assert spread([4.0, 1.0]).median == 2.5


def test_first_reached_by_hand() -> None:
    curve = {"seconds": 8.0, "env_steps": 400, "returns": [None, 20.0, 480.0, 475.0]}
    assert first_reached(curve, 475.0) == {"seconds": 6.0, "env_steps": 300.0}
    assert first_reached(curve, 481.0) == {"seconds": None, "env_steps": None}


def test_products_of_one_mlp_by_hand() -> None:
    forward = {Product(7, 2, 3): 1, Product(7, 3, 1): 1}
    assert forward_products((2, 3, 1), 7) == forward
    kernels = {Product(2, 7, 3): 1, Product(3, 7, 1): 1}
    assert gradient_products((2, 3, 1), 7) == forward | kernels | {Product(7, 1, 3): 1}


def test_flops_by_hand() -> None:
    """Multiply-adds per sample: policy 2*3 + 3*2 = 12, value 2*3 + 3*1 = 9; 20 samples."""
    assert count_flops(forward_products((2, 3, 1), 7)) == 2 * 7 * 9
    assert count_flops(gradient_products((2, 3, 1), 7)) == 3 * 2 * 7 * 9 - 2 * 7 * 2 * 3
    assert count_flops(rollout_products(SIZES)) == 2 * 20 * 12
    assert count_flops(advantage_products(SIZES)) == 2 * 20 * (12 + 9 + 9)
    assert count_flops(update_products(SIZES)) == 3 * 20 * (3 * 2 * (12 + 9) - 2 * (6 + 6))


def test_bytes_by_hand() -> None:
    """Parameters: policy 3*3 + 4*2 = 17, value 3*3 + 4*1 = 13."""
    assert count_parameters(SIZES) == 30
    assert update_bytes(SIZES) == 4 * (3 * 20 * (2 + 5) + 3 * 2 * 6 * 30)


def test_sizes_of_works() -> None:
    assert sizes_of(NARROW).policy == (4, 64, 64, 2)
    assert sizes_of(NARROW).value == (4, 64, 64, 1)
    assert sizes_of(find_work("breakout")).policy == (400, 64, 64, 3)
