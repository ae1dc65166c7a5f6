from gpumod.estimate.llama.logged import logged_buffers

LOG = """\
0.00.011.962 I load_tensors:        CUDA0 model buffer size =  4403.49 MiB
0.00.011.962 I load_tensors:   CPU_Mapped model buffer size =   281.81 MiB
llama_context:  CUDA_Host  output buffer size =     0.49 MiB
llama_kv_cache:      CUDA0 KV buffer size =  4096.00 MiB
llama_memory_recurrent:      CUDA0 RS buffer size =   149.62 MiB
sched_reserve:      CUDA0 compute buffer size =   132.01 MiB
sched_reserve:  CUDA_Host compute buffer size =    48.02 MiB
~llama_context:      CUDA0 compute buffer size is 132.0137 MiB, matches expectation of 132.0137 MiB
srv  log_server_r: done request: POST /v1/chat/completions
""".splitlines()


def test_buffers_are_found_in_a_log():
    found = list(logged_buffers(LOG))
    assert [(one.part, one.device, one.on_host) for one in found] == [
        ("weights", "CUDA0", False),
        ("weights", "CPU_Mapped", True),
        ("output buffer", "CUDA_Host", True),
        ("KV cache", "CUDA0", False),
        ("recurrent state", "CUDA0", False),
        ("compute buffer", "CUDA0", False),
        ("compute buffer", "CUDA_Host", True),
    ]
    assert found[3].size == 4096 << 20


def test_a_size_is_as_exact_as_it_is_written():
    (one,) = logged_buffers(["load_tensors: CUDA0 model buffer size = 0.75 MiB"])
    assert abs(one.size - 786432) <= one.rounding
    assert one.rounding == 5243
