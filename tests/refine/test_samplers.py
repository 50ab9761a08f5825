"""Samplers: order of convergence, the exact law of a Gaussian, peers, and the correction of end points."""

import itertools

import pytest
import torch

from surrogates.refine import GaussianVelocity, Linear, Uniform, VariancePreserving, ab2, ab3, euler, evaluations, heun, sample

F64 = {"dtype": torch.float64}
SAMPLERS = [(euler, 1), (heun, 2), (ab2, 2), (ab3, 3)]
PATHS = [Linear(), VariancePreserving()]


def levels(steps):
    return Uniform().levels(steps)


@pytest.fixture
def noise():
    torch.manual_seed(0)
    return torch.randn(4, 2, 16, **F64)


@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize(("sampler", "order"), SAMPLERS)
def test_order_of_convergence_to_the_exact_flow(sampler, order, path, gaussian, points, bare, noise):
    oracle = GaussianVelocity(*gaussian, path)
    velocity, exact = bare(oracle, points(16)), oracle.flow(noise)
    errors = [(sampler(velocity, noise, levels(n)) - exact).abs().max().item() for n in (256, 512, 1024)]
    orders = [torch.tensor(a / b).log2().item() for a, b in itertools.pairwise(errors)]
    assert abs(orders[-1] - order) < 0.12, (errors, orders)


@pytest.mark.parametrize(("sampler", "least"), [(heun, 3.6), (ab2, 3.6), (ab3, 7.0)])
def test_variable_steps_keep_the_order(sampler, least, gaussian, points, bare, noise):
    oracle = GaussianVelocity(*gaussian)
    velocity, exact = bare(oracle, points(16)), oracle.flow(noise)

    def uneven(n):  # every second step is twice as long as the one before
        return [s if k % 2 == 0 else s + 1 / (3 * n) for k, s in enumerate(levels(n))]

    errors = [(sampler(velocity, noise, uneven(n)) - exact).abs().max().item() for n in (64, 128, 256)]
    assert errors[1] / errors[2] > least, errors


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_mean_and_covariance_of_the_samples(path, gaussian, points, bare):
    torch.manual_seed(0)
    n = 200_000
    x = heun(bare(GaussianVelocity(*gaussian, path), points(n)), torch.randn(1, 2, n, **F64), levels(32))[0]
    mean, covariance = (torch.tensor(v, **F64) for v in gaussian)
    torch.testing.assert_close(x.mean(1), mean, rtol=0, atol=0.01)
    torch.testing.assert_close(x.cov(), covariance, rtol=0, atol=0.01)


def test_one_euler_step_gives_the_conditional_mean_without_spread(gaussian, points, bare, noise):
    x = euler(bare(GaussianVelocity(*gaussian), points(16)), noise, levels(1))
    torch.testing.assert_close(x, torch.tensor(gaussian[0], **F64)[None, :, None].expand_as(x), rtol=0, atol=1e-14)


@pytest.mark.parametrize("sampler", [euler, heun, ab2])
@pytest.mark.parametrize("steps", [1, 4])
def test_a_direction_without_variance_keeps_no_noise(sampler, steps, points, bare, noise):
    oracle = GaussianVelocity((0.3, 0.7), ((0.0, 0.0), (0.0, 1.0)))
    x = sampler(bare(oracle, points(16)), noise, levels(steps))[:, 0]
    torch.testing.assert_close(x, torch.full_like(x, 0.3), rtol=0, atol=1e-14)


@pytest.mark.parametrize(("sampler", "_"), SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_evaluations_are_counted_right(sampler, _, steps):
    calls = []
    sampler(lambda z, s: calls.append(s) or z, torch.ones(1, 1, 1), levels(steps))
    assert (
        len(calls)
        == evaluations(sampler, levels(steps))
        == {euler: steps, ab2: steps, ab3: steps + (steps > 1), heun: 2 * steps - 1}[sampler]
    )
    assert min(calls) > 0


def test_torchdiffeq_agrees_to_rounding(gaussian, points, bare, noise):
    torchdiffeq = pytest.importorskip("torchdiffeq", reason="the peer that integrates the same equation")
    velocity = bare(GaussianVelocity(*gaussian, VariancePreserving()), points(16))
    grid = levels(8)[:-1]
    for ours, theirs in ((euler, "euler"), (heun, "heun2")):
        peer = torchdiffeq.odeint(lambda s, z: velocity(z, s.item()), noise, torch.tensor(grid, **F64), method=theirs)[-1]
        torch.testing.assert_close(ours(velocity, noise, grid), peer, rtol=0, atol=1e-13)


def test_azula_agrees_on_the_linear_path(gaussian, points, bare, noise):
    noise_of = pytest.importorskip("azula.noise", reason="the peer with its own denoiser and sampler")
    from azula.denoise import Denoiser, DiracPosterior
    from azula.sample import DDIMSampler

    class ExactMean(Denoiser):
        """E[x | z] for the Gaussian in azula's own terms."""

        def __init__(self):
            super().__init__()
            self.schedule = noise_of.RectifiedSchedule(alpha_min=1e-9, sigma_min=1e-9)

        def forward(self, z, t):
            mean, covariance = (torch.tensor(v, **F64) for v in gaussian)
            a, b = self.schedule(t)
            gain = a * covariance @ torch.linalg.inv(a**2 * covariance + b**2 * torch.eye(2, **F64))
            mean = mean[:, None]
            return DiracPosterior(mean + gain @ (z - a * mean))

    peer = DDIMSampler(ExactMean(), steps=8, silent=True, dtype=torch.float64)(noise)
    ours = euler(bare(GaussianVelocity(*gaussian), points(16)), noise, levels(8))
    torch.testing.assert_close(ours, peer, rtol=0, atol=1e-7)


def test_samplers_are_differentiable(gaussian, points, bare):
    velocity = bare(GaussianVelocity(*gaussian), points(3))
    z = torch.randn(1, 2, 3, **F64, requires_grad=True)
    for sampler, _ in SAMPLERS:
        assert torch.autograd.gradcheck(lambda z, sampler=sampler: sample(sampler, velocity, z, levels(3), torch.tanh), z)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_precision_is_the_state_s(dtype, gaussian, points, bare, noise):
    for sampler, _ in SAMPLERS:
        assert sampler(bare(GaussianVelocity(*gaussian), points(16)), noise.to(dtype), levels(3)).dtype == dtype


def mean_is_two(x):
    """The affine projection onto fields whose mean over space is 2."""
    return x - x.mean(-1, keepdim=True) + 2


@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize(("sampler", "_"), SAMPLERS)
def test_a_corrected_sample_satisfies_the_law_to_rounding(sampler, _, path, gaussian, points, bare, noise):
    velocity = bare(GaussianVelocity(*gaussian, path), points(16))
    x = sample(sampler, velocity, noise, levels(4), mean_is_two, path)
    assert (sampler(velocity, noise, levels(4)).mean(-1) - 2).abs().max() > 0.5
    torch.testing.assert_close(x.mean(-1), torch.full((4, 2), 2.0, **F64), rtol=0, atol=1e-14)


@pytest.mark.parametrize(("sampler", "_"), SAMPLERS)
def test_on_the_linear_path_the_flow_itself_ends_lawful(sampler, _, gaussian, points, bare, noise):
    calls = []

    def counted(x):
        calls.append((x.mean(-1) - 2).abs().max().item())
        return mean_is_two(x)

    sample(sampler, bare(GaussianVelocity(*gaussian), points(16)), noise, levels(4), counted)
    assert calls[-1] < 1e-13 < calls[0]  # the last correction finds nothing left to do
    assert len(calls) == evaluations(sampler, levels(4)) + 1


@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize(("sampler", "_"), SAMPLERS)
def test_the_free_components_keep_their_flow(sampler, _, path, gaussian, points, bare, noise):
    velocity = bare(GaussianVelocity(*gaussian, path), points(16))
    free = sampler(velocity, noise, levels(4))
    held = sample(sampler, velocity, noise, levels(4), mean_is_two, path)
    torch.testing.assert_close(held - held.mean(-1, keepdim=True), free - free.mean(-1, keepdim=True), rtol=0, atol=1e-12)


@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize(("sampler", "_"), SAMPLERS)
def test_a_flow_whose_target_obeys_the_law_is_unchanged(sampler, _, path, points, bare, noise):
    oracle = GaussianVelocity((0.3, 0.7), ((1.0, -1.0), (-1.0, 1.0)), path)  # the channels add up to 1, always
    velocity = bare(oracle, points(16))

    def adds_to_one(x):
        return x - (x.sum(1, keepdim=True) - 1) / 2

    held = sample(sampler, velocity, noise, levels(4), adds_to_one, path)
    free = sampler(velocity, noise, levels(4))
    torch.testing.assert_close(held, free if path == Linear() else adds_to_one(free), rtol=0, atol=1e-12)
