"""Every bound of the path of bytes in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes are bytes, times are seconds.

    Args:
        head: of a request's head, from its first byte to the empty line.
        headers: how many a request may have.
        line: of one header, or of the request's target.
        body: of a request's body. The door may be stricter for bodies that say their length.
        kept: of the bodies of all requests together.
        head_time: from the first byte of a head to its last.
        body_time: for a body, and one second more for each `body_rate` bytes of it that came.
        idle_time: a connection without a request.
        linger_time: how long the rest of a refused request is read and thrown away before the connection is
            closed: closed at once, the system would drop the answer that is still on its way.
        pipelined: bytes of further requests that are kept while one is under way.
        answer_head: of an engine's answer, early hints included.
        hints: interim answers of an engine to one request.
        connect_time: to an engine.
        engine_silence: an engine that sends nothing, before its answer or within it.
        client_silence: a client that takes nothing.
        vanished: a client whose machine is gone without a word, until that is noticed.
        pooled: idle connections kept to one engine. Each may hold one of llama.cpp's few HTTP threads: with
            two threads and four idle connections a health probe was seen to wait for 0.5 s.
        pooled_time: how long they are kept. Less than the 5 s (measured) after which llama.cpp closes them;
            uvicorn, vLLM's server, does the same.
        wait_silence: how long a stream waits until it is answered with a comment that says so.
        wait_interval: between such comments.
        tries: how often one request is sent.
        tick: how often deadlines are looked at.
    """

    head: int = 32 * 1024
    headers: int = 100
    line: int = 16 * 1024
    body: int = 64 * 1024 * 1024
    kept: int = 1024 * 1024 * 1024
    head_time: float = 15.0
    body_time: float = 15.0
    body_rate: int = 64 * 1024
    idle_time: float = 75.0
    linger_time: float = 2.0
    pipelined: int = 64 * 1024
    answer_head: int = 64 * 1024
    hints: int = 16
    connect_time: float = 5.0
    engine_silence: float = 3600.0
    client_silence: float = 120.0
    vanished: int = 120
    pooled: int = 4
    pooled_time: float = 3.0
    wait_silence: float = 5.0
    wait_interval: float = 10.0
    tries: int = 16
    tick: float = 0.5
