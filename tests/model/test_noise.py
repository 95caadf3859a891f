"""NoiseStream: the right distributions, and numbers that know nothing of their batch."""

import torch

from simworld.model.noise import NoiseStream, mix


def stream(seeds: list[int], steps: list[int]) -> NoiseStream:
    return NoiseStream(torch.tensor(seeds), torch.tensor(steps))


def test_splitmix_known_answer() -> None:
    # First output of SplitMix64 seeded with 0: the finaliser of 0x9E3779B97F4A7C15.
    assert int(mix(torch.tensor(-7046029254386353131))) % 2**64 == 0xE220A8397B1DCDAF


def test_normal_moments() -> None:
    x = stream([1, 2], [0, 0]).normal(200_000).double()
    for moment, want, tolerance in ((1, 0.0, 0.01), (2, 1.0, 0.015), (3, 0.0, 0.03), (4, 3.0, 0.08)):
        assert (x**moment).mean(dim=1).sub(want).abs().max() < tolerance
    assert torch.isfinite(x).all()
    assert abs(float((x[0] * x[1]).mean())) < 0.01


def test_uniform_range_and_moments() -> None:
    u = stream([3], [9]).uniform(500_000).double()
    assert 0 < u.min() < 1e-5 and 1 - 1e-5 < u.max() < 1
    assert abs(float(u.mean()) - 0.5) < 2e-3 and abs(float(u.var()) - 1 / 12) < 1e-3
    assert abs(float(((u[0, 1:] - 0.5) * (u[0, :-1] - 0.5)).mean())) < 1e-3


def test_neighbouring_seeds_steps_and_draws_are_apart() -> None:
    n = 20_000
    seeds = stream(list(range(6)), [0] * 6).normal(n)
    steps = stream([4] * 6, list(range(6))).normal(n)
    one = stream([4], [2])
    draws = torch.cat([one.normal(n) for _ in range(6)])
    for x in (seeds, steps, draws):
        correlation = torch.corrcoef(x) - torch.eye(6)
        assert correlation.abs().max() < 0.035
    halves = stream([8], [8]).normal(2 * n)[0].reshape(2, n)  # a pair of Box and Muller shares its radius
    assert abs(float(torch.corrcoef(halves)[0, 1])) < 0.035


def test_a_sample_is_the_same_in_any_batch() -> None:
    seeds, steps = [7, 8, 9, -3, 2**62], [0, 5, 600, 1, 2]
    together = stream(seeds, steps)
    whole = [together.normal(3, 5), together.uniform(4), together.normal(7)]
    order = [4, 2, 0, 3, 1]
    shuffled = stream([seeds[i] for i in order], [steps[i] for i in order])
    for first, second in zip(whole, [shuffled.normal(3, 5), shuffled.uniform(4), shuffled.normal(7)], strict=True):
        assert torch.equal(first[order], second)
    for i in range(5):
        alone = stream([seeds[i]], [steps[i]])
        for drawn, all_drawn in zip([alone.normal(3, 5), alone.uniform(4), alone.normal(7)], whole, strict=True):
            torch.testing.assert_close(drawn[0], all_drawn[i], atol=1e-6, rtol=1e-6)
