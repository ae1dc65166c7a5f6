# ruff: noqa: E501 - lines of logs are as long as they are
"""A failed start says why, with its numbers, out of the engine's own words."""

import pytest

from gpumod.core.names import HOST_CARD, CardId, ServiceId
from gpumod.core.service import ExitReport, RunKey
from gpumod.engines.logs import explain

CARDS = (CardId("GPU-aaaa"), CardId("GPU-bbbb"))

LLAMA_LOAD_OOM = """\
0.01.201.101 I load_tensors: loading model tensors, this can take a while... (load_mode = auto)
0.01.301.101 E ggml_backend_cuda_buffer_type_alloc_buffer: allocating 10164.05 MiB on device 1: cudaMalloc failed: \
out of memory
0.01.301.201 E alloc_tensor_range: failed to allocate CUDA1 buffer of size 10657780736
0.01.301.401 E llama_model_load: error loading model: unable to allocate CUDA1 buffer
0.01.301.501 E srv    load_model: failed to load model, '/models/big.gguf'
0.01.301.601 E srv          init: exiting due to model loading error"""

LLAMA_CONTEXT_OOM = """\
0.01.4 E alloc_tensor_range: failed to allocate CPU buffer of size 687194767360
0.01.4 E llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv cache
0.01.4 E srv    load_model: failed to create_context with model 'mid.gguf'"""

LLAMA_RETRY = """\
E ggml_backend_cuda_buffer_type_alloc_buffer: allocating 900.00 MiB on device 0: cudaMalloc failed: out of memory
W sched_reserve: compute buffer allocation failed, retrying without pipeline parallelism
E ggml_backend_cuda_buffer_type_alloc_buffer: allocating 404.20 MiB on device 0: cudaMalloc failed: out of memory
E llama_init_from_model: failed to initialize the context: failed to allocate compute pp buffers"""

VLLM_FREE = """\
(EngineCore pid=12) ERROR 11-20 10:11:12 [core.py:900] Traceback (most recent call last):
(EngineCore pid=12) ValueError: Free memory on device cuda:0 (5.51/23.56 GiB) on startup is less than desired GPU \
memory utilization (0.92, 21.67 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.
(APIServer pid=9) RuntimeError: Engine core initialization failed. See root cause above."""

VLLM_KV = """\
ValueError: To serve at least one request with the model's max seq len (262144), (16.00 GiB KV cache is needed, \
which is larger than the available KV cache memory (5.30 GiB). Based on the available memory, the estimated maximum \
model length is 86832. Try increasing `gpu_memory_utilization`"""

VLLM_LIMITS = "(APIServer pid=1) WARNING 11-21 05:26:35 [system_utils.py:255] errors like `OSError: [Errno 24] Too many`\n"

VLLM_TORCH = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 23.56 "
    "GiB of which 512.00 MiB is free. Including non-PyTorch memory, this process has 22.1 GiB memory in use."
)


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        (LLAMA_LOAD_OOM, "out of memory on GPU-bbbb: needed 10164 MiB"),
        (LLAMA_CONTEXT_OOM, "out of memory on the host: needed 655360 MiB"),
        (LLAMA_RETRY, "out of memory on GPU-aaaa: needed 404 MiB"),
        (VLLM_FREE, "out of memory on GPU-aaaa: utilisation 0.92 needs 22190 MiB free at the start, 5642 MiB of 24125 MiB are"),
        (VLLM_KV, "the KV cache for a context of 262144 needs 16384 MiB, 5427 MiB are available: the longest context that fits is 86832"),
        (VLLM_TORCH, "out of memory on GPU-aaaa: needed 2560 MiB, 512 MiB were free"),
        ("ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when ...",
         "no memory is left for the KV cache: raise gpu_memory_utilization or take a smaller model"),
        ("terminate called after throwing an instance of 'std::bad_alloc'", "out of host memory"),
        ("E gguf_init_from_file: failed to open GGUF file '/m/x.gguf' (No such file or directory)",
         "/m/x.gguf: No such file or directory"),
        ("E gguf_init_from_reader: invalid magic characters: 'garb', expected 'GGUF'\nE load failed",
         "the model is not a GGUF file"),
        ("E llama_model_load: error loading model: tensor 'blk.1.ffn_up.weight' data is not within the file bounds, model is corrupted or incomplete", "the model file is truncated or damaged"),
        ("error loading model: unknown model architecture: 'gemma9'",
         "this build does not know the architecture gemma9: update it"),
        ("error: invalid argument: --no-mmap", "this build does not know the argument --no-mmap"),
        ("E error: invalid argument: --bogus (supported: see --help)", "this build does not know the argument --bogus"),
        ('error while handling argument "-c": stoi', "the argument -c has a wrong value: stoi"),
        ("E srv start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 18001", "port 18001 is taken"),
        ("ERROR: [Errno 98] error while attempting to bind on address ('127.0.0.1', 18001): address already in use",
         "the port is taken"),
        ("E srv load_model: failed to load multimodal model, '/m/mm.gguf'", "the projector /m/mm.gguf cannot be loaded"),
        ("E srv load_model: failed to load draft model, '/m/d.gguf'", "the draft model /m/d.gguf cannot be loaded"),
        ("E failed to create MTP context", "the model has no MTP layers: remove `draft`, or take a file with them"),
        ("error: invalid device: CUDA0",
         "it has no device CUDA0: it was built without CUDA, or CUDA found no usable card"),
        ("E error: argument --device: no device CUDA0: this build of xllamacpp has the CPU only",
         "it has no device CUDA0: it was built without CUDA, or CUDA found no usable card"),
        ("vllm serve: error: unrecognized arguments: --bogus 1", "this build does not know the arguments --bogus 1"),
        ("llama-server: error while loading shared libraries: libcudart.so.13: cannot open shared object file",
         "the program lacks the library libcudart.so.13"),
        ("ImportError: something went wrong\nRuntimeError: deep cause", "deep cause"),
        (VLLM_LIMITS + "  Value error, User-specified max_model_len (9) is greater than 5. To allow this, set\n    For further",
         "User-specified max_model_len (9) is greater than 5"),
        (VLLM_LIMITS + "huggingface_hub.errors.HFValidationError: Repo id must use alphanumeric chars",
         "the model is neither a folder on this box nor in the local cache"),
        ("(EngineCore pid=1) ERROR 11-20 10:00:00 [core.py:9] ValueError: 7 heads do not divide by 2\n(APIServer pid=2) RuntimeError: Engine core initialization failed. See root cause above.",
         "7 heads do not divide by 2"),
        ("all good\n0.01.2 E something fatal happened\nbye", "something fatal happened"),
        ("all good\nbye", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_a_log_in_one_sentence(log, sentence):
    assert explain(log.splitlines(), None, CARDS) == sentence


def test_on_the_host_card_memory_is_the_hosts():
    text = "E alloc: allocating 10.00 MiB on device 0: cudaMalloc failed: out of memory"
    assert explain([text], None, (HOST_CARD,)) == "out of memory on the host: needed 10 MiB"


def test_without_a_launch_the_engines_own_number_is_told():
    assert "device 1" in explain(LLAMA_LOAD_OOM.splitlines(), None)


def test_an_illegal_instruction_is_explained_without_a_log():
    report = ExitReport(RunKey(ServiceId("a"), 1), None, 4, 0.0)
    assert "CPU" in explain([], report)


def test_a_log_of_any_bytes_is_survived():
    assert isinstance(explain(["\x00\ufffd {0} %s"] * 1000, None), str)
