"""A scripted engine: an OpenAI-compatible server that behaves, and misbehaves, as it is told.

It runs as a program (`python -P engine_server.py '{"port": 18000, "name": "chat"}'`), starts in some tens of
milliseconds and needs the standard library alone. `command_of()` makes its command line. A POST of JSON to
`/control` changes a running one.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import select
import signal
import socket
import sys
import threading
import time
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final

NVML_VARIABLE: Final = "FAKE_NVML_DIR"
"""Where the stand-in NVML library reads `cards.json` and `procs/PID-CARD.json`."""

_MIB: Final = 1024**2
_STEP: Final = 0.02
_METRICS: Final = {
    "llama": ("llamacpp:requests_processing {running}", "llamacpp:requests_deferred {waiting}"),
    "vllm": (
        'vllm:num_requests_running{{engine="0",model_name="{name}"}} {running}.0',
        'vllm:num_requests_waiting{{engine="0",model_name="{name}"}} {waiting}.0',
    ),
}


@dataclass(slots=True)
class Script:
    """What the server does. Durations are seconds, sizes MiB.

    Args:
        port: where it listens on loopback.
        name: the model that it says it serves.
        load_time: from start to ready.
        while_loading: `503` (llama.cpp), or `closed`: nothing listens (vLLM).
        never_ready: it goes on loading for ever.
        gate: it goes on loading until this file is there.
        exit_code: it exits by itself with this code ...
        exit_after: ... so long after its start.
        crash_signal: it kills itself with this signal instead.
        log: lines that it prints at its start.
        last_log: lines that it prints before it exits by itself.
        log_times: print `timed ready T` and `timed request T`, the first of each; T is monotonic seconds.
        on_sigterm: `exit`; `ignore`; `hang_with_clients` (llama.cpp: stops answering, and waits until its
            clients have gone); `slow` (exits `exit_delay` later).
        on_sigterm_while_loading: `die` (no handler yet) or `ignore` (vLLM).
        exit_delay: between SIGTERM and the end, for `slow`.
        children: so many child processes.
        children_setsid: they lead sessions of their own.
        children_ignore_sigterm: SIGTERM does not end them.
        children_outlive: they stay when the leader ends (vLLM's engine core after a SIGKILL).
        child_holds_port: children keep the listening socket open after the leader's death; needs `503`.
        exit_on_child_death: once a child has died, it exits with this code (vLLM after its engine core: 0).
        memory_in: `leader` or `child`: who holds the memory.
        host_mib: anonymous memory that is really allocated.
        card_mib: what it takes on each visible card of the NVML stand-in; as a list, per card. A card that
            has not so much left makes it fail like a real one.
        card_keys: further keys of what it tells the stand-in, such as `{"linger": -1}`.
        metrics: `llama`, `vllm` or `none`.
        running: requests that it says it works on, on top of the real ones.
        waiting: requests that it says are queued.
        request_time: how long a request takes, unless it says itself (`seconds`); of a stream, how long until
            its last event.
        keep_alive: connections stay open for further requests.
        hung: it accepts connections and never answers.
        hung_after: it becomes so, that long after its start.
        fail_requests: a status with which it answers requests.
    """

    port: int = 0
    name: str = "model"
    load_time: float = 0.0
    while_loading: str = "503"
    never_ready: bool = False
    gate: str = ""
    exit_code: int | None = None
    exit_after: float = 0.0
    crash_signal: int | None = None
    log: list[str] = field(default_factory=list)
    last_log: list[str] = field(default_factory=list)
    log_times: bool = False
    on_sigterm: str = "exit"
    on_sigterm_while_loading: str = "die"
    exit_delay: float = 0.0
    children: int = 0
    children_setsid: bool = True
    children_ignore_sigterm: bool = False
    children_outlive: bool = False
    child_holds_port: bool = False
    exit_on_child_death: int | None = None
    memory_in: str = "leader"
    host_mib: int = 0
    card_mib: int | list[int] = 0
    card_keys: dict[str, Any] = field(default_factory=dict)
    metrics: str = "llama"
    running: int = 0
    waiting: int = 0
    request_time: float = 0.0
    keep_alive: bool = False
    hung: bool = False
    hung_after: float | None = None
    fail_requests: int | None = None


def command_of(script: Script, *, port: str | None = None) -> tuple[str, ...]:
    """The command line that runs a script. `port` replaces the script's, e.g. by `${PORT}`."""
    default = asdict(Script())
    said = {key: value for key, value in asdict(script).items() if value != default[key]}
    words = json.dumps(said | {"port": "PORT"} if port else said).replace('"PORT"', port or "")
    return (sys.executable, "-P", __file__, words)


class _Server:
    """Threads that answer; the main thread acts the script."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.ready = False
        self.stopping = False
        self.signalled = False
        self.real_running = 0
        self.clients = 0
        self.wake_read, self.wake_write = os.pipe()
        self._lock = threading.Lock()
        self._timed: set[str] = set()
        self.listener: socket.socket | None = None

    def listen(self) -> None:
        """Open the port, as llama.cpp does: exit 1 when it is taken."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", self.script.port))
        except OSError:
            _say(f"E couldn't bind HTTP server socket, hostname: 127.0.0.1, port: {self.script.port}")
            os._exit(1)
        listener.listen(64)
        listener.set_inheritable(True)
        self.listener = listener

    def serve(self) -> None:
        """Answer in the background."""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        assert self.listener is not None
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connection, args=(connection,), daemon=True).start()

    def _connection(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, ValueError):
            with self._lock:
                self.clients += 1
            try:
                while self._exchange(connection) and self.script.keep_alive:
                    pass
            finally:
                with self._lock:
                    self.clients -= 1

    def _exchange(self, connection: socket.socket) -> bool:
        """Answer one request; whether the connection can be used for another one."""
        head, _, body = self._read(connection)
        if not head:
            return False
        method, path, _ = head.split("\r\n")[0].split(" ", 2)
        if self.script.hung and path != "/control":
            connection.recv(1)  # until the client gives up
            return False
        if self.signalled and method == "POST":
            _say(f"late request: {path}")
        persistence = "keep-alive" if self.script.keep_alive else "close"
        status, text = self._answer(connection, method, path.partition("?")[0], body)
        if self.stopping and method == "POST":
            connection.recv(1)
            return False
        if not text:
            return True  # it was streamed
        payload = text.encode()
        answer = (
            f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(payload)}\r\n"
        )
        connection.sendall(f"{answer}Connection: {persistence}\r\n\r\n".encode() + payload)
        return True

    @staticmethod
    def _read(connection: socket.socket) -> tuple[str, str, bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return "", "", b""
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        text = head.decode()
        sizes = [line for line in text.lower().split("\r\n") if line.startswith("content-length:")]
        size = int(sizes[0].split(":")[1]) if sizes else 0
        while len(body) < size:
            body += connection.recv(65536)
        return text, "", body

    def _answer(self, connection: socket.socket, method: str, path: str, body: bytes) -> tuple[int, str]:
        if path == "/control":
            self.control(json.loads(body))
            return 200, "{}"
        if not self.ready:
            loading = {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}
            return 503, json.dumps(loading)
        if path == "/health":
            return 200, '{"status": "ok"}'
        if path == "/v1/models":
            return 200, json.dumps({"object": "list", "data": [{"id": self.script.name, "object": "model"}]})
        if path == "/metrics":
            return self._metrics()
        if path == "/slots":
            return 200, json.dumps([{"id": 0, "is_processing": self._running() > 0}])
        if path == "/load":
            return 200, json.dumps({"running": self._running()})
        if method == "POST" and path.startswith("/v1/"):
            return self._request(connection, path, json.loads(body or b"{}"))
        return 404, '{"error": {"message": "File Not Found", "code": 404}}'

    def _running(self) -> int:
        return self.script.running + self.real_running

    def _metrics(self) -> tuple[int, str]:
        lines = _METRICS.get(self.script.metrics)
        if lines is None:
            return (
                501,
                '{"error": {"message": "This server does not support metrics endpoint.", "code": 501}}',
            )
        values = {"running": self._running(), "waiting": self.script.waiting, "name": self.script.name}
        return 200, "".join(f"{line.format(**values)}\n" for line in lines)

    def _request(self, connection: socket.socket, path: str, asked: dict[str, Any]) -> tuple[int, str]:
        """Generate. The answer tells who gave it, and whose question it answers (`user`).

        An answer, or the last event of a stream, waits until the file is there that a request names (`gate`).
        """
        if self.script.fail_requests is not None:
            return self.script.fail_requests, '{"error": {"message": "scripted failure"}}'
        with self._lock:
            self.real_running += 1
            self.log_time("request")
        seconds = float(asked.get("seconds", self.script.request_time))
        gate = str(asked.get("gate", ""))
        told = {"model": self.script.name, "user": asked.get("user"), "pid": os.getpid()}
        try:
            if asked.get("stream"):
                self._stream(connection, path, told, seconds, int(asked.get("max_tokens", 3)), gate)
                return 200, ""
            self._work(connection, seconds, gate)
        finally:
            with self._lock:
                self.real_running -= 1
        choice = {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
        return 200, json.dumps({"object": "chat.completion", "choices": [choice], **told})

    def _work(self, connection: socket.socket, seconds: float, gate: str = "") -> bool:
        """Take so long, and until a file is there; False if the client went away, or the server is to end."""
        until = time.monotonic() + seconds
        step = max(_STEP, seconds / 100)  # many long ones at once must not wake all the time
        client = select.poll()  # unlike select, for any number of descriptors
        client.register(connection, select.POLLIN)
        while not self.stopping:
            left = until - time.monotonic()
            if left <= 0 and (not gate or os.path.exists(gate)):  # noqa: PTH110 - starts fast
                break
            if client.poll((min(left, step) if left > 0 else _STEP) * 1000):
                return False
        return not self.stopping

    def _stream(
        self,
        connection: socket.socket,
        path: str,
        told: dict[str, Any],
        seconds: float,
        events: int,
        gate: str,
    ) -> None:
        """Send numbered events and the end mark, each in a chunk of its own."""
        head = "HTTP/1.1 200 -\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        end = "event: message_stop\ndata: {}\n\n" if path == "/v1/messages" else "data: [DONE]\n\n"
        for number in range(events):
            if not self._work(connection, seconds / events, gate if number == events - 1 else ""):
                raise OSError("the stream is not finished")
            _send_chunk(connection, f"data: {json.dumps({'number': number, **told})}\n\n")
        _send_chunk(connection, end)
        connection.sendall(b"0\r\n\r\n")

    def control(self, changes: dict[str, Any]) -> None:
        """Change the script of the running server; the main thread looks at it at once."""
        self.script = replace(self.script, **changes)
        os.write(self.wake_write, b"c")

    def log_time(self, what: str) -> None:
        """Print when something happened for the first time, if the script wants that."""
        if self.script.log_times and what not in self._timed:
            self._timed.add(what)
            _say(f"timed {what} {time.monotonic():.6f}")

    def wait(self, seconds: float | None) -> bool:
        """Wait for a signal (then True), a change of the script, or the time."""
        readable, _, _ = select.select([self.wake_read], [], [], seconds)
        return bool(readable) and b"s" in os.read(self.wake_read, 1024)


def _send_chunk(connection: socket.socket, text: str) -> None:
    data = text.encode()
    connection.sendall(b"%x\r\n%b\r\n" % (len(data), data))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _hold_host_memory(mib: int) -> mmap.mmap | None:
    """Anonymous memory with every page touched."""
    if not mib:
        return None
    memory = mmap.mmap(-1, mib * _MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for page in range(0, len(memory), mmap.PAGESIZE):
        memory[page] = 1
    return memory


def _hold_card_memory(script: Script) -> bool:
    """Take memory of the NVML stand-in's cards, where there are any; False if one is full."""
    state = os.environ.get(NVML_VARIABLE)
    if not state or not script.card_mib:
        return True
    from gpumod.testing.card_memory import take

    if take(state, script.card_mib, script.card_keys):
        return True
    _say("CUDA error: out of memory")
    return False


def _child(script: Script, told: int, *, holds_memory: bool) -> None:
    """A child process: it only holds what it is told to, and says when it does."""
    if script.children_setsid:
        os.setsid()
    action = signal.SIG_IGN if script.children_ignore_sigterm else signal.SIG_DFL
    signal.signal(signal.SIGTERM, action)
    signal.signal(signal.SIGINT, action)
    memory = None
    if holds_memory:
        memory = _hold_host_memory(script.host_mib)
        if not _hold_card_memory(script):
            os.write(told, b"x")
            os._exit(1)
    leader = os.getppid()
    os.close(told)
    while script.children_outlive or script.child_holds_port or os.getppid() == leader:
        time.sleep(_STEP)
    del memory
    os._exit(0)


def _spawn_children(server: _Server) -> list[int]:
    script, pids = server.script, []
    all_set, told = os.pipe()
    for number in range(script.children):
        pid = os.fork()
        if pid == 0:
            if server.listener is not None and not script.child_holds_port:
                server.listener.close()
            _child(script, told, holds_memory=number == 0 and script.memory_in == "child")
        pids.append(pid)
    os.close(told)
    if os.read(all_set, 1):
        _say("RuntimeError: Engine core initialization failed")
        _end(server, pids, 1)
    os.close(all_set)
    return pids


def _end(server: _Server, children: list[int], code: int) -> None:
    script = server.script
    if not script.children_outlive and not script.child_holds_port:
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
    os._exit(code)


def _leave(server: _Server, children: list[int]) -> None:
    """What SIGTERM does once it is ready."""
    how = server.script.on_sigterm
    server.signalled = True
    if how == "ignore":
        return
    if how == "hang_with_clients":
        server.stopping = True
        assert server.listener is not None
        server.listener.close()
        while server.clients:
            if server.wait(_STEP):
                _say("Received second interrupt, terminating immediately.")
                _end(server, children, 1)
    if how == "slow":
        time.sleep(server.script.exit_delay)
    _end(server, children, 0)


def _exit_by_itself(server: _Server, children: list[int]) -> None:
    for line in server.script.last_log:
        _say(line)
    if server.script.crash_signal is not None:
        os.kill(os.getpid(), server.script.crash_signal)
    _end(server, children, server.script.exit_code or 0)


def _act(server: _Server, children: list[int], started: float) -> None:
    """Wait for what comes next, for ever."""
    while True:
        script, age = server.script, time.monotonic() - started
        exits = script.exit_code is not None or script.crash_signal is not None
        moments = []
        if script.exit_on_child_death is not None and _has_lost_a_child(children):
            _end(server, children, script.exit_on_child_death)
        if exits:
            moments.append(script.exit_after)
        shut = bool(script.gate) and not os.path.exists(script.gate)  # noqa: PTH110 - starts fast
        if not server.ready and not script.never_ready:
            moments.append(max(script.load_time, age + _STEP) if shut else script.load_time)
        if script.hung_after is not None and not script.hung:
            moments.append(script.hung_after)
        if exits and age >= script.exit_after:
            _exit_by_itself(server, children)
        if not server.ready and not script.never_ready and not shut and age >= script.load_time:
            _become_ready(server)
            continue
        if script.hung_after is not None and age >= script.hung_after:
            server.script = replace(script, hung=True, hung_after=None)
            continue
        if server.wait(max(0.0, min(moments) - age) if moments else None):
            _leave(server, children)


def _has_lost_a_child(children: list[int]) -> bool:
    dead = [pid for pid in children if os.waitpid(pid, os.WNOHANG)[0]]
    for pid in dead:
        children.remove(pid)
    return bool(dead)


def _become_ready(server: _Server) -> None:
    """Whoever sees it ready can rely on all of that: it handles signals, and no answer is a 503 any more."""
    signal.signal(signal.SIGTERM, lambda *_: os.write(server.wake_write, b"s"))
    signal.signal(signal.SIGINT, lambda *_: os.write(server.wake_write, b"s"))
    opens = server.listener is None
    if opens:
        server.listen()
    server.log_time("ready")
    server.ready = True
    if opens:
        server.serve()


def main(words: str) -> None:
    """Run a script; never returns."""
    started = time.monotonic()
    known = {one.name for one in fields(Script)}
    given = json.loads(words)
    if unknown := set(given) - known:
        _say(f"unknown keys: {', '.join(sorted(unknown))}")
        os._exit(2)
    server = _Server(Script(**given))
    script = server.script
    loading = signal.SIG_IGN if script.on_sigterm_while_loading == "ignore" else signal.SIG_DFL
    signal.signal(signal.SIGTERM, loading)
    signal.signal(signal.SIGINT, loading)
    for line in script.log:
        _say(line)
    if script.while_loading == "503":
        server.listen()
    if script.exit_on_child_death is not None:
        signal.signal(signal.SIGCHLD, lambda *_: os.write(server.wake_write, b"c"))
    children = _spawn_children(server)
    if server.listener is not None:
        server.serve()
    memory = None
    if script.memory_in == "leader":
        memory = _hold_host_memory(script.host_mib)
        if not _hold_card_memory(script):
            _end(server, children, 1)
    _act(server, children, started)
    del memory


if __name__ == "__main__":
    main(sys.argv[1])
