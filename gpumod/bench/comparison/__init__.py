"""Results of a suite side by side.

Pure: results in, sentences out. It names every recorded axis on which they differ, credits none of them
alone where there are several, and never says that two things are equal.
"""

from gpumod.bench.comparison.compare import compare, report
from gpumod.bench.comparison.markdown import markdown
from gpumod.bench.comparison.recommend import recommend

__all__ = ["compare", "markdown", "recommend", "report"]
