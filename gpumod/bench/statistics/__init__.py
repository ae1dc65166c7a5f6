"""Statistics for small samples, on the standard library alone.

Every test answers with what it showed. A test that shows no difference does not show that there is none.
"""

from gpumod.bench.statistics.comparisons import (
    Comparison,
    Verdict,
    drift,
    fisher_exact,
    mcnemar_exact,
    paired_bootstrap,
)
from gpumod.bench.statistics.distributions import (
    binomial_two_sided,
    hypergeometric,
    student_t_cdf,
    student_t_quantile,
)
from gpumod.bench.statistics.intervals import Interval, mean_interval, slope_interval, wilson_interval

__all__ = [
    "Comparison",
    "Interval",
    "Verdict",
    "binomial_two_sided",
    "drift",
    "fisher_exact",
    "hypergeometric",
    "mcnemar_exact",
    "mean_interval",
    "paired_bootstrap",
    "slope_interval",
    "student_t_cdf",
    "student_t_quantile",
    "wilson_interval",
]
