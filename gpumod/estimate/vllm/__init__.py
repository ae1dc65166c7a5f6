"""What vLLM takes, from a model's configuration and the headers of its weight files."""

from gpumod.estimate.vllm.activations import VllmOverhead, usual_overhead
from gpumod.estimate.vllm.checkpoint import Checkpoint, TensorGroup, checkpoint_files, read_checkpoint
from gpumod.estimate.vllm.hub import find_model
from gpumod.estimate.vllm.model import Model
from gpumod.estimate.vllm.pool import Pool, vllm_pool
from gpumod.estimate.vllm.predict import VllmPlan, largest_utilisation, predict_vllm, vllm_plan
from gpumod.estimate.vllm.setting import VllmSetting, vllm_setting

__all__ = [
    "Checkpoint",
    "Model",
    "Pool",
    "TensorGroup",
    "VllmOverhead",
    "VllmPlan",
    "VllmSetting",
    "checkpoint_files",
    "find_model",
    "largest_utilisation",
    "predict_vllm",
    "read_checkpoint",
    "usual_overhead",
    "vllm_plan",
    "vllm_pool",
    "vllm_setting",
]
