"""What a launch of llama.cpp takes, by formula.

Every formula is a function of `LlamaModel` (what the file says), `LlamaSetting` (what the launch uses) and
`Placement` (where the layers are), and gives `Devices`: bytes on each card and on the host.

* `weights.weights`, `cache.kv_cache`, `recurrent.recurrent_state`
* `compute.compute_buffers`, `compute.output_buffer`
* `overhead.context_overhead`, `overhead.graphs_and_pools` (an `Overhead`), `draft.draft_parts`,
  `projector.projector_part`, `host.host_parts`, `host.loading`
* `predict.predict` puts them together.
"""
