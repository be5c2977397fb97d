"""Posteriors of 200 four-parameter curves: all at once, by the default method and by NUTS, against a loop of numpyro.infer.MCMC;
and the Laplace path.

    python experiments/bench_posterior.py --out experiments/bench_posterior.md

Both sample the same numpyro model of the same curves (logistic law, binomial counts at 24 numbers of shots) with NUTS, 4 chains
× 500 draws after 300 steps of adaptation. The loop makes one `MCMC` object, compiles once (`jit_model_args=True`, chains
vectorised) and runs over `--loop` of the curves; its compilation is not counted, ours is not either. Compared is time per
effective draw: seconds a curve over the smallest bulk ESS of a curve's parameters, median over curves. The default method draws
by importance where that can be trusted, independent draws some of which come more than once: the ESS of S draws of which the
i-th came c_i times is S² / Σ c_i².

Ours includes what a user gets by default: posteriors with divergences or poor R-hat are sampled again with smaller steps.

Hardware: two CPU cores, about 3 minutes. The goals are 10 times the loop and 300 curves a second for Laplace; bench_posterior.md
says what was measured.
"""

import argparse
import time
import warnings

import jax
import numpy as np
import numpyro
from numpyro.infer import MCMC, NUTS

import iclbayes
from iclbayes import posterior as bayes
from iclbayes.files import atomic_path
from iclbayes.posterior.sampling import diagnostics
from iclbayes.posterior.units import units_of
from iclbayes.runtime import use_compilation_cache

SHOTS = np.unique(np.round(np.geomspace(1, 500, 26)))[:24]
LAW, LIKELIHOOD = "logistic", "binomial"


def make_curves(n: int, seed: int = 0) -> iclbayes.Curves:
    """Curves of the logistic law with parameters as real ones have, 250 tests a point."""
    rng = np.random.default_rng(seed)
    params = {
        "L": np.exp(rng.normal(0.2, 0.3, n)),
        "kappa": np.exp(rng.normal(0.2, 0.2, n)),
        "t_0": np.exp(rng.normal(2.5, 0.7, n)),
        "E": np.exp(rng.normal(-1.7, 0.5, n)),
    }
    with jax.enable_x64(True):
        p = np.asarray(iclbayes.laws.get(LAW).mean(params, SHOTS))
    return iclbayes.Curves.from_arrays(SHOTS, rng.binomial(250, p) / 250, n_test=np.full(p.shape, 250))


def median_time(function, repeats: int) -> float:
    times = []
    for repeat in range(repeats + 1):  # the first compiles
        start = time.perf_counter()
        function(repeat)
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def smallest_ess(params: dict, n: int) -> np.ndarray:
    """[n] smallest bulk ESS among the parameters of each curve; values [chains, draws, n, 1]."""
    return np.min(
        [diagnostics.ess_bulk(np.moveaxis(v[..., 0], 2, 0)) for v in params.values()], axis=0
    ).reshape(n)


def resampled_ess(one: bayes.Posterior) -> np.ndarray:
    """[U] S² / Σ c² of the draws of each unit, c of which are the same."""
    found = []
    for block in one.blocks:
        for theta in block.theta.reshape(len(block.theta), -1, block.theta.shape[-1]):
            counts = np.unique(theta, axis=0, return_counts=True)[1]
            found.append(counts.sum() ** 2 / (counts**2).sum())
    return np.array(found)


def loop(curves, n: int, options: dict) -> tuple[float, np.ndarray, float]:
    """(seconds a curve, ESS [n], divergences a curve) of one MCMC object run over the curves in turn."""
    law = iclbayes.laws.get(LAW)
    spec = bayes.make_spec(law, LIKELIHOOD, 1, False)
    used = np.ones(len(curves.shots), bool)
    units = units_of(curves, law, spec.likelihood, used, False)[0]

    def model(data):
        return bayes.numpyro_model(spec, data, data.obs)

    with jax.enable_x64(True):
        kernel = NUTS(model, target_accept_prob=0.9)
        run = MCMC(
            kernel,
            num_warmup=options["n_warmup"],
            num_samples=options["n_draws"],
            num_chains=options["n_chains"],
            chain_method="vectorized",
            progress_bar=False,
            jit_model_args=True,
        )
        found, times, diverging = [], [], []
        for i in range(n + 1):
            data = jax.tree.map(lambda a, i=i: jax.numpy.asarray(a[max(i - 1, 0)]), units.data)
            start = time.perf_counter()
            run.run(jax.random.key(i), data)
            draws = run.get_samples(group_by_chain=True)
            params = {name: np.asarray(draws[name]) for name in law.param_names}
            if i > 0:  # the first compiles
                times.append(time.perf_counter() - start)
                diverging.append(float(run.get_extra_fields()["diverging"].sum()))
                found.append(smallest_ess(params, 1)[0])
    return float(np.median(times)), np.array(found), float(np.mean(diverging))


def main(argv=None) -> str:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=int, default=200)
    parser.add_argument(
        "--loop", type=int, default=10, help="curves of the loop; its time a curve does not depend on it"
    )
    parser.add_argument("--laplace", type=int, default=2000)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out")
    args = parser.parse_args(argv)
    use_compilation_cache()
    numpyro.set_host_device_count(1)
    warnings.simplefilter("ignore")
    options = {"n_chains": 4, "n_warmup": 300, "n_draws": args.draws}
    common = {"likelihood": LIKELIHOOD, "discrepancy": None}
    curves = make_curves(args.curves)
    last = {}

    def sample(seed):
        last["one"] = bayes.sample(curves, LAW, method="nuts", seed=seed, **common, **options)

    def default(seed):
        last["default"] = bayes.sample(curves, LAW, seed=seed, **common, **options)

    quick = median_time(default, args.repeats) / args.curves
    by_importance = (last["default"].diagnostics()["method"] == "psis").mean()
    quick_ess = resampled_ess(last["default"])
    ours = median_time(sample, args.repeats) / args.curves
    ess = smallest_ess({k: last["one"].params[k] for k in iclbayes.laws.get(LAW).param_names}, args.curves)
    theirs, loop_ess, loop_divergences = loop(curves, args.loop, options)
    ratio = (theirs / np.median(loop_ess)) / (ours / np.median(ess))
    many = make_curves(args.laplace, seed=1)
    laplace = median_time(lambda s: bayes.sample(many, LAW, method="laplace", seed=s, **common), args.repeats)
    lines = [
        f"# Posteriors of {args.curves} curves, {len(SHOTS)} points each, 4 chains × {args.draws} draws",
        "",
        "| | ms a curve | curves/s | median smallest ESS | divergences a curve |",
        "|---|---|---|---|---|",
        f"| all at once, the default method | {1e3 * quick:.1f} | {1 / quick:.1f} | {np.median(quick_ess):.0f} "
        f"| {last['default'].diagnostics()['divergences'].mean():.2f} |",
        f"| all at once, NUTS | {1e3 * ours:.1f} | {1 / ours:.1f} | {np.median(ess):.0f} "
        f"| {last['one'].diagnostics()['divergences'].mean():.2f} |",
        f"| loop of numpyro.infer.MCMC | {1e3 * theirs:.1f} | {1 / theirs:.2f} | {np.median(loop_ess):.0f} "
        f"| {loop_divergences:.2f} |",
        f"| Laplace | {1e3 * laplace / args.laplace:.2f} | {args.laplace / laplace:.0f} | | |",
        "",
        f"Speed over the loop at equal ESS: the default method (by importance for {by_importance:.0%} of the curves) "
        f"{(theirs / np.median(loop_ess)) / (quick / np.median(quick_ess)):.0f}, NUTS {ratio:.1f}; at equal draws: "
        f"{theirs / quick:.0f} and {theirs / ours:.1f}.",
    ]
    text = "\n".join(lines)
    print(text)
    if args.out:
        with atomic_path(args.out) as temporary:
            temporary.write_text(text + "\n")
    return text


if __name__ == "__main__":
    main()
