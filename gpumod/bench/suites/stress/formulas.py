"""What the numbers of `stress` are."""

from __future__ import annotations

from typing import Final

from gpumod.bench.formulas import Formula, Pooling

PASSED: Final = Formula(
    "stress.passed.v1", "points",
    "A case has 1 if everything that its check asks for is so, else 0; a request that was refused, cut, "
    "empty, late or broken off where it had to be answered is 0. Over all cases, and at each check.",
    larger_is_better=True, pooling=Pooling.SHARE,
)  # fmt: skip
NEEDLE: Final = Formula(
    "stress.needle.v1", "points",
    "1 if the only six-digit number of the answer is the code that one sentence of the prompt says, else 0; "
    "what the server refused, cut or broke off is 0. At the prompt's nominal tokens; over its positions.",
    larger_is_better=True, pooling=Pooling.SHARE,
)  # fmt: skip
TTFT: Final = Formula(
    "stress.ttft.v1", "s",
    "Seconds from handing a case's last long request to the socket until the first delta was complete. At "
    "the check; of needles, at the prompt's nominal tokens. But for the checks `conversation` and `repeat`, "
    "no value where the server took more than a tenth of the prompt from its cache.",
    larger_is_better=False,
)  # fmt: skip
PROMPT: Final = Formula(
    "stress.prompt.v1", "tokens",
    "usage.prompt_tokens of the same request. At the same settings.",
)  # fmt: skip
CONVERSATION_CACHED: Final = Formula(
    "stress.conversation.cached.v1", "share",
    "Share of the last turn's prompt that the server took from its cache.",
    larger_is_better=True,
)  # fmt: skip
REASONING_TOKENS: Final = Formula(
    "stress.reasoning.tokens.v1", "tokens",
    "Tokens generated up to the last delta before the first one with content in it, as the server tells them "
    "with every delta; all of them if there was no content. No value where the server does not tell, or "
    "does not tell reasoning apart.",
)  # fmt: skip
REASONING_CHARACTERS: Final = Formula(
    "stress.reasoning.characters.v1", "characters",
    "Length of the reasoning, told apart by the server or left in front of the answer in a think block.",
)  # fmt: skip
REASONING_RIGHT: Final = Formula(
    "stress.reasoning.right.v1", "points",
    "1 if the answer's number is the right one, 0 if it is another one or there is none. To pass, any number "
    "is enough: this is a check of the box.",
    larger_is_better=True, pooling=Pooling.SHARE,
)  # fmt: skip
REPEAT_FIRST: Final = Formula(
    "stress.repeat.ttft.first.v1", "s",
    "TTFT of the first of several requests with one and the same long prompt. No value where the server "
    "took more than a tenth of it from its cache: it knew the prompt from another job.",
    larger_is_better=False,
)  # fmt: skip
REPEAT_LATER: Final = Formula(
    "stress.repeat.ttft.later.v1", "s",
    "Median TTFT of the other ones.",
    larger_is_better=False,
)  # fmt: skip
REPEAT_CACHED: Final = Formula(
    "stress.repeat.cached.v1", "share",
    "Mean share of the prompt that the server took from its cache, over the requests but the first.",
    larger_is_better=True,
)  # fmt: skip
REPEAT_ERRORS: Final = Formula(
    "stress.repeat.errors.v1", "requests",
    "How many of these requests were refused, cut, empty, late, broken off or answered wrongly.",
    larger_is_better=False, pooling=Pooling.SUM,
)  # fmt: skip
REPEAT_GROWTH: Final = Formula(
    "stress.repeat.growth.v1", "bytes",
    "What the target holds on a card after the last of these requests, less what it held after the first. "
    "At the card.",
    larger_is_better=False, pooling=Pooling.MOST,
)  # fmt: skip
STORM_CUT: Final = Formula(
    "stress.storm.streaming.v1", "requests",
    "Requests that had begun to answer and were under way when all of them were cut.",
    pooling=Pooling.SUM,
)  # fmt: skip
STORM_WAITING: Final = Formula(
    "stress.storm.waiting.v1", "requests",
    "Requests that were cut before they had begun to answer.",
    pooling=Pooling.SUM,
)  # fmt: skip
STORM_RECOVERY: Final = Formula(
    "stress.storm.recovery.v1", "s",
    "Seconds from the cut until an ordinary request, sent right after it, was answered to its end.",
    larger_is_better=False,
)  # fmt: skip
STORM_LEFT: Final = Formula(
    "stress.storm.left.v1", "requests",
    "Requests that the engine's metrics still count, running and waiting, at the first reading without any "
    "or at the last one within the bound; read every 1.5 s once the ordinary request has ended. No value "
    "where the engine does not tell.",
    larger_is_better=False, pooling=Pooling.MOST,
)  # fmt: skip
LIMIT_SECONDS: Final = Formula(
    "stress.limit.seconds.v1", "s",
    "Seconds from handing a request at the context's limit to the socket until its error or its answer was "
    "complete. At `at` (the prompt fits, what may be generated does not) and `over` (the prompt does not).",
    larger_is_better=False,
)  # fmt: skip

FORMULAS: Final = (
    PASSED, NEEDLE, TTFT, PROMPT, CONVERSATION_CACHED,
    REASONING_TOKENS, REASONING_CHARACTERS, REASONING_RIGHT,
    REPEAT_FIRST, REPEAT_LATER, REPEAT_CACHED, REPEAT_ERRORS, REPEAT_GROWTH,
    STORM_CUT, STORM_WAITING, STORM_RECOVERY, STORM_LEFT, LIMIT_SECONDS,
)  # fmt: skip
