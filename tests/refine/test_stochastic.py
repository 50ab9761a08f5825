"""Stochastic samplers: the exact law of a Gaussian for every strength of noise, reductions, a peer, and the levels they visit."""

import re

import pytest
import torch

from surrogates.refine import (
    Churn,
    GaussianVelocity,
    Karras,
    Langevin,
    Linear,
    LinearBetas,
    Uniform,
    VarianceExploding,
    VariancePreserving,
    ddim,
    ddpm,
    dpm_2m,
    dpm_2s,
    euler,
    evaluations,
    heun,
)

F64 = {"dtype": torch.float64}
PATHS = [Linear(), VariancePreserving(), VarianceExploding(20.0)]


def repr_without_address(value):
    """The same in every process, as parallel tests need."""
    return re.sub(r"<function (\w+) at 0x\w+>", r"\1", str(value))


def levels(path, steps):
    return Karras(20.0, 0.02).levels(steps) if isinstance(path, VarianceExploding) else Uniform().levels(steps)


def fresh(like, k):
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(k + 1), **F64)


def drawn(sampler, path, steps, gaussian, points, bare, n=40_000):
    domain = points(n)
    operator = GaussianVelocity(*gaussian, path)

    def velocity(z, s):
        return bare(operator, domain)(z, path.told(s))

    z = path.deviation() * torch.randn(1, 2, n, generator=torch.Generator().manual_seed(0), **F64)
    return sampler(velocity, z, levels(path, steps), path, fresh)[0]


@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize(
    "sampler", [ddpm, Langevin(0.5), Langevin(2.0), Churn(heun, 20.0), Churn(dpm_2s, 8.0, above=0.5)], ids=repr_without_address
)
def test_mean_and_covariance_of_the_samples(sampler, path, gaussian, points, bare):
    x = drawn(sampler, path, 400, gaussian, points, bare)
    mean, covariance = (torch.tensor(v, **F64) for v in gaussian)
    torch.testing.assert_close(x.mean(1), mean, rtol=0, atol=0.03)
    torch.testing.assert_close(x.cov(), covariance, rtol=0, atol=0.04)


def test_noise_decorrelates_the_end_from_the_source(gaussian, points, bare):
    """With the flow alone the end is a function of the source; ancestral noise leaves nothing of it."""
    e = torch.randn(1, 2, 40_000, generator=torch.Generator().manual_seed(0), **F64)[0, 1]

    def kept(sampler):
        x = drawn(sampler, VariancePreserving(), 64, gaussian, points, bare)[1]
        return float(torch.corrcoef(torch.stack([x, e]))[0, 1])

    assert kept(ddim) > 0.8 > 0.3 > abs(kept(ddpm))


def test_ddim_is_euler_on_the_linear_path(gaussian, points, bare):
    z = torch.randn(3, 2, 16, **F64)
    velocity = bare(GaussianVelocity(*gaussian), points(16))
    torch.testing.assert_close(ddim(velocity, z, Uniform().levels(5)), euler(velocity, z, Uniform().levels(5)), rtol=0, atol=1e-13)


def test_no_strength_is_euler_and_no_churn_is_the_sampler(gaussian, points, bare):
    z = torch.randn(3, 2, 16, **F64)
    velocity, times = bare(GaussianVelocity(*gaussian), points(16)), Uniform().levels(5)
    torch.testing.assert_close(Langevin(0.0)(velocity, z, times, fresh=fresh), euler(velocity, z, times))
    assert torch.equal(Churn(heun, 0.0)(velocity, z, times, fresh=fresh), heun(velocity, z, times))


def test_ddpm_has_the_posterior_of_the_discrete_process():
    """Ho et al., equations 6 and 7, at every step of the published variances."""
    path, g = LinearBetas(20), torch.Generator().manual_seed(0)
    x, z = torch.randn(4, 1, 1, generator=g, **F64), torch.randn(4, 1, 1, generator=g, **F64)
    betas = torch.tensor(path.betas, **F64)
    abar = torch.cumprod(1 - betas, 0)
    for k in range(2, 21):
        s, r, beta, now, before = k / 20, (k - 1) / 20, betas[k - 1], abar[k - 1], abar[k - 2]
        mean = before.sqrt() * beta / (1 - now) * x + (1 - beta).sqrt() * (1 - before) / (1 - now) * z
        variance = (1 - before) / (1 - now) * beta

        def velocity(z, s):
            return path.velocity_from_data(z, x, s)

        quiet = ddpm(velocity, z, (s, r), path, lambda like, k: torch.zeros_like(like))
        loud = ddpm(velocity, z, (s, r), path, lambda like, k: torch.ones_like(like))
        torch.testing.assert_close(quiet, mean)
        torch.testing.assert_close(loud - quiet, variance.sqrt().expand(4, 1, 1))


def test_churn_goes_back_by_the_stated_ratio(gaussian, points):
    path, seen = VarianceExploding(20.0), []
    z = torch.zeros(1, 1, 4, **F64)
    times = Karras(20.0, 0.02).levels(10)
    Churn(euler, 2.0, above=0.75)(lambda z, s: seen.append(20 * s) or z, z, times, path, fresh)
    sigma = [20 * s for s in times[:-1]]
    expected = [v * (1.2 if k and v >= 0.75 else 1.0) for k, v in enumerate(sigma)]
    assert seen == pytest.approx(expected)


@pytest.mark.parametrize("sampler", [ddim, dpm_2m, dpm_2s])
def test_an_exponential_integrator_is_exact_for_a_point(sampler, points, bare):
    """All data at one point: x is constant, and every step, however long, is exact."""
    for path in PATHS:
        operator = GaussianVelocity((0.3,), ((0.0,),), path)
        z = path.deviation() * torch.randn(2, 1, 4, **F64)
        times = levels(path, 3)
        velocity = bare(operator, points(4))
        x = sampler(lambda z, s, f=velocity, p=path: f(z, p.told(s)), z, times, path)
        torch.testing.assert_close(x, torch.full_like(x, 0.3), rtol=0, atol=1e-10)


@pytest.mark.parametrize(("sampler", "order"), [(ddim, 1), (dpm_2m, 2), (dpm_2s, 2)])
def test_order_in_the_logarithm_of_the_ratio(sampler, order, gaussian, points, bare):
    """Steps that are equal in ln(b/a) between two interior times, against many more of them."""
    path, velocity = VariancePreserving(), bare(GaussianVelocity(*gaussian, VariancePreserving()), points(8))
    z = torch.randn(2, 2, 8, **F64)

    def run(n):
        logs = torch.linspace(2.0, -2.0, n + 1, **F64)
        return sampler(velocity, z, [path.at(float(v.exp())) for v in logs], path)

    exact = run(2048)
    errors = [(run(n) - exact).abs().max() for n in (16, 32, 64)]
    assert abs(torch.log2(errors[1] / errors[2]) - order) < 0.25, errors


def test_evaluations_are_counted(points):
    times = Uniform().levels(6)
    assert evaluations(ddpm, times) == evaluations(Langevin(), times) == evaluations(dpm_2m, times) == 6
    assert evaluations(dpm_2s, times) == 2 * 6 - 2  # the steps from pure noise and to the data take one
    assert evaluations(Churn(heun), times) == 2 * 6 - 1


def test_azula_draws_the_same_ancestral_law(gaussian, points, bare):
    noise_of = pytest.importorskip("azula.noise", reason="the peer with its own denoiser and sampler")
    from azula.denoise import Denoiser, DiracPosterior
    from azula.sample import DDPMSampler

    mean, covariance = (torch.tensor(v, **F64) for v in gaussian)

    class ExactMean(Denoiser):
        def __init__(self):
            super().__init__()
            self.schedule = noise_of.CosineSchedule()

        def forward(self, z, t):
            a, b = self.schedule(t)
            gain = a * covariance @ torch.linalg.inv(a**2 * covariance + b**2 * torch.eye(2, **F64))
            return DiracPosterior(mean[:, None] + gain @ (z - a * mean[:, None]))

    torch.manual_seed(0)
    n, steps = 60_000, 8
    theirs = DDPMSampler(ExactMean(), steps=steps, silent=True, dtype=torch.float64)(torch.randn(1, 2, n, **F64))[0]
    ours = drawn(ddpm, VariancePreserving(), steps, gaussian, points, bare, n)
    torch.testing.assert_close(ours.cov(), theirs.cov(), rtol=0.05, atol=0.01)


def test_noise_must_be_given():
    with pytest.raises(ValueError, match="adds noise on its way"):
        ddpm(lambda z, s: z, torch.ones(1, 1, 2), Uniform().levels(3))
