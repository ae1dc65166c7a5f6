"""A box whose models are reached through the gateway: llama.cpp on the CPU, tiny models, keys."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import httpx2
from anthropic import Anthropic
from openai import OpenAI

from gpumod.testing.gguf import TINY, write_gguf
from tests.e2e.real_box import PATIENCE, RealBox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY: Final = "the-key-of-everything"
CONTEXT: Final = 65536
"""Tokens; agents ask for 64,000 at least."""
HI: Final[list[Any]] = [{"role": "user", "content": "hi"}]
ENDLESS: Final = 60_000
"""Tokens of an answer that nobody waits for: it ends because its client has gone."""
TOOLS: Final = [
    {
        "type": "function",
        "function": {
            "name": "light",
            "description": "Switch the light.",
            "parameters": {
                "type": "object",
                "properties": {"on": {"type": "boolean"}},
                "required": ["on"],
            },
        },
    }
]
_CALL: Final = "~"
"""What begins a call in the template below. One token of the vocabulary: a model of random weights begins a
call if that token is made likely; from then on llama.cpp's grammar leads it. There may be several calls."""
LIKELY_CALL: Final = {"logit_bias": {_CALL: 100}, "stop": ["^"]}
_TEMPLATE: Final = """\
{%- if tools %}<|im_start|>system
Functions within <tools></tools>:
<tools>
{%- for tool in tools %}
{{ tool | tojson }}
{%- endfor %}
</tools>
A call is a JSON object with name and arguments: ~{"name": <name>, "arguments": <object>}^<|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{%- if message.content %}{{ '\\n' + message.content }}{% endif %}
{%- if message.tool_calls %}
{%- for call in message.tool_calls %}
~{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}^
{%- endfor %}
{%- endif %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


class GatewayBox(RealBox):
    """Real engines behind a daemon that has keys."""

    def __init__(self, root: Path, **options: Any) -> None:
        super().__init__(root, **options)
        self.gateway: dict[str, Any] = {}
        self.keys: list[dict[str, Any]] = []
        self.key("everything", KEY, scopes=["infer", "read", "control"])
        self.model = write_gguf(root / "long.gguf", replace(TINY, context=2 * CONTEXT))
        self.template = root / "template.jinja"
        self.template.write_text(_TEMPLATE)

    def key(self, name: str, text: str, **limits: Any) -> None:
        """A key that clients may have; the next daemon reads it."""
        hashed = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
        self.keys.append({"name": name, "hash": hashed, "scopes": ["infer"], **limits})

    def llama(self, name: str, *args: str, vram: int, **keys: Any) -> None:
        """A preset whose engine is llama.cpp; `args` are added to its command line."""
        document = {
            "id": name,
            "engine": "llama.cpp",
            "binary": "embedded",
            "model": str(self.model),
            "context": CONTEXT,
            "slots": 2,
            "vram": f"{vram}MiB",
            "drain": {"deadline": "60s"},
            "llama": {"threads": 1},
            "args": list(args),
            "env": {"TEST_BOX": f"{self.root}/"},
            **keys,
        }
        self.write(f"presets/{name}.yaml", json.dumps(document))

    def two_modes(self) -> None:
        """`small` with `chat` and `embed`, and `large` with `code`; they do not fit together."""
        self.llama("chat", "--chat-template-file", str(self.template), vram=400, aliases=["assistant"])
        self.llama(
            "embed",
            "--pooling",
            "mean",
            vram=100,
            context=512,
            slots=1,
            task="embedding",
            aliases=["vectors"],
        )
        self.llama("code", vram=700)
        routes = {
            "default": "chat",
            "fast": {"service": "chat", "defaults": {"max_tokens": 3}},
            "handy": {"service": "chat", "set": LIKELY_CALL},
        }
        self.mode("small", "chat", "embed", routes=routes, on_demand="auto")
        self.mode("large", "code", routes={"smart": "code", "default": "code"}, on_demand="auto")
        self.gateway = {"keep_alive": "100ms", "residency": "0s"}

    def start(self, **options: Any) -> None:
        """Start the daemon, with its keys."""
        path = self.root / "config/config.yaml"
        lines = path.read_text().splitlines()
        kept = [line for line in lines if not line.startswith(("keys:", "gateway:"))]
        kept += [f"keys: {json.dumps(self.keys)}", f"gateway: {json.dumps(self.gateway)}"]
        path.write_text("\n".join((*kept, "")))
        super().start(**options)

    @property
    def url(self) -> str:
        """Where the daemon listens."""
        text = (self.root / "config/config.yaml").read_text()
        return "http://" + text.partition("listen: ")[2].partition("\n")[0]

    def http(self, key: str = KEY) -> httpx2.Client:
        """A plain client."""
        return httpx2.Client(
            base_url=self.url, headers={"authorization": f"Bearer {key}"}, timeout=PATIENCE, trust_env=False
        )

    def openai(self, key: str = KEY, **options: Any) -> OpenAI:
        """OpenAI's client as it comes; `options` are its own."""
        return OpenAI(base_url=f"{self.url}/v1", api_key=key, **{"timeout": PATIENCE, **options})

    def anthropic(self, key: str = KEY, **options: Any) -> Anthropic:
        """Anthropic's client as it comes; `options` are its own."""
        return Anthropic(base_url=self.url, api_key=key, **{"timeout": PATIENCE, **options})

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        with self.http() as http:
            lines = http.get("/metrics").text.splitlines()
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        found = [
            line
            for line in lines
            if line.startswith((f"{name}{{", f"{name} ")) and all(w in line for w in wanted)
        ]
        return sum(float(line.rpartition(" ")[2]) for line in found)

    @contextlib.contextmanager
    def busy(self, model: str) -> Iterator[None]:
        """One endless answer of a model while the block runs; its client goes away at the end."""
        body = {"model": model, "messages": HI, "stream": True, "max_tokens": ENDLESS}
        with self.http() as http, http.stream("POST", "/v1/chat/completions", json=body) as answer:
            assert answer.status_code == 200
            parts = answer.iter_raw()  # an iterator that is let go takes the connection with it
            next(parts)
            yield
