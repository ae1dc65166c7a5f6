from tests.nvml.fixtures import nvml_here, nvml_library, nvml_preloaded, nvml_standin

__all__ = ["nvml_here", "nvml_library", "nvml_preloaded", "nvml_standin"]
