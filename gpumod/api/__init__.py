"""The REST control plane: routes, problem documents, event streams, metrics and the status page."""

from gpumod.api.app import create_app
from gpumod.api.deps import ApiDeps, Limits
from gpumod.api.server import serve
from gpumod.core.metrics import Metric, Sample

__all__ = ["ApiDeps", "Limits", "Metric", "Sample", "create_app", "serve"]
