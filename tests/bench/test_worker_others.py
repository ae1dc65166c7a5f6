"""Requests of other clients at an engine while it is measured: told where its counters tell, else nothing."""

import pytest

from gpumod.bench.meter.ledger import LEDGER, Ledger, entered
from gpumod.bench.meter.reply import Reply, ServerTimings, Usage
from gpumod.bench.worker.others import Counters, Others, counters_of
from gpumod.core.job import JobState, Outcome

LLAMA = """\
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total {prompt}
llamacpp:tokens_predicted_total {generated}
llamacpp:requests_processing {busy}
llamacpp:requests_deferred 0
"""


class Engine:
    """An engine's counters."""

    def __init__(self, bench):
        self.bench = bench
        self.prompt, self.generated, self.busy = 5000, 700, 0
        bench.pages["/metrics"] = self.page

    def page(self):
        return LLAMA.format(prompt=self.prompt, generated=self.generated, busy=self.busy)

    def asks(self, prompt, generated, outcome=Outcome.OK):
        """What a case does that asks by the meter."""

        async def act(run):
            with entered() as enter:
                self.prompt += prompt
                self.generated += generated
                enter(Reply(outcome, usage=Usage(prompt, generated)))

        return act


@pytest.fixture
async def engine(make_bench):
    bench = await make_bench()
    engine = Engine(bench)
    for case in ("c0", "c1", "c2"):
        bench.suite.on_case["qwen", case] = engine.asks(100, 50)
    return engine


async def measured(engine):
    job = await engine.bench.ended(await engine.bench.submit("qwen"))
    assert (job.state, job.reason) == (JobState.DONE, "")
    (result,) = await engine.bench.queue.results(job.id)
    return result


async def test_what_the_job_asks_itself_says_nothing_against_it(engine):
    result = await measured(engine)
    assert result.integrity == ()
    assert result.provenance["requests"] == {
        "own": {"requests": 3, "prompt_tokens": 300, "generated_tokens": 150},
        "others": {"prompt_tokens": 0.0, "generated_tokens": 0.0},
        "cases_counted": 3,
        "cases_not_counted": 0,
    }


async def test_what_others_were_served_is_told_with_numbers(engine):
    own = engine.asks(100, 50)

    async def both(run):
        await own(run)
        engine.prompt, engine.generated = engine.prompt + 900, engine.generated + 80

    engine.bench.suite.on_case["qwen", "c1"] = both
    result = await measured(engine)
    (sentence,) = result.integrity
    assert sentence == (
        "qwen served other clients meanwhile: 900 tokens of prompts and 80 of answers beyond the job's own, "
        "by the engine's counters"
    )


async def test_requests_that_are_in_flight_between_cases_are_others(engine):
    async def stay(run):
        engine.busy = 2

    engine.bench.suite.on_case["qwen", "c0"] = both = engine.asks(1, 1)

    async def begin(run):
        await both(run)
        await stay(run)

    engine.bench.suite.on_case["qwen", "c0"] = begin
    result = await measured(engine)
    assert result.integrity == ("qwen had 2 requests of other clients in flight after the case c0",)


async def test_a_gauge_that_is_late_is_asked_again(engine):
    looks = iter([0, 1])

    def page():
        engine.busy = next(looks, 0)
        return Engine.page(engine)

    engine.bench.pages["/metrics"] = page
    assert (await measured(engine)).integrity == ()


async def test_an_engine_without_counters_and_cases_that_cannot_tell_claim_nothing(engine):
    engine.bench.pages.clear()
    result = await measured(engine)
    assert result.integrity == ()
    assert result.provenance["requests"]["others"] is None
    assert result.provenance["requests"]["cases_not_counted"] == 3


async def test_where_the_job_cannot_tell_what_it_cost_nothing_is_claimed(engine):
    engine.bench.suite.on_case["qwen", "c1"] = engine.asks(3000, 40, Outcome.TIMEOUT)
    result = await measured(engine)
    assert result.integrity == ()
    assert result.provenance["requests"]["cases_counted"] == 2


def test_stretches_are_summed_up_and_late_counts_are_no_evidence():
    others = Others("qwen")
    others.begin(1, Counters(0, 0, 0, whole=True))
    assert others.after(1, Counters(0, 100, 40, whole=True), Ledger(1, 0, 100, 7, 50)), (
        "ten tokens are counted later"
    )
    assert [*others.served] == [0, 0]
    assert others.after(1, Counters(0, 700, 150, whole=True), Ledger(1, 0, 100, 7, 50))
    assert [*others.served] == [500, 50]
    assert not others.after(2, Counters(0, 10, 10, whole=True), Ledger(1, 0, 100, 7, 50)), (
        "it was launched anew"
    )
    assert not others.after(2, Counters(0, 900, 10, whole=True), Ledger()), (
        "a harness that is not the meter has asked"
    )
    assert others.after(2, Counters(0, 1030, 60, whole=True), Ledger(1, 0, 100, 7, 50))
    assert [*others.served] == [530, 50]
    assert (others.counted, others.unknown) == (3, 2)


def test_a_cut_request_that_the_engine_still_works_on_is_not_taken_for_anothers():
    others = Others("qwen")
    others.begin(1, Counters(0, 0, 0))
    assert not others.after(1, Counters(1, 0, 0), Ledger(1, 1))
    assert not others.after(1, Counters(0, 4000, 900), Ledger(1, 0, 100, 100, 50))
    assert others.after(1, Counters(0, 4100, 950), Ledger(1, 0, 100, 100, 50))
    assert [*others.served] == [0, 0]


def test_the_ledger_knows_what_was_read_anew_and_what_it_cannot_know():
    ledger = Ledger()
    token = LEDGER.set(ledger)
    try:
        timings = ServerTimings(30, 0.1, 5, 0.1)
        for reply in (
            Reply(Outcome.CUT, usage=Usage(100, 5, 70), timings=timings),
            Reply(Outcome.OK, usage=Usage(100, 5, 60)),
            Reply(Outcome.REFUSED, status=400),
        ):
            with entered() as enter:
                assert enter(reply) is reply
        assert ledger.take() == Ledger(3, 0, 200, 70, 10)
        with entered() as enter:
            enter(Reply(Outcome.OK))
        with entered():
            pass
        assert ledger.take() == Ledger(2, 2)
    finally:
        LEDGER.reset(token)


def test_counters_are_all_there_or_none():
    assert counters_of(LLAMA.format(prompt=3, generated=4, busy=1)) == Counters(1, 3, 4)
    assert counters_of("llamacpp:requests_processing 1\n") is None
    vllm = (
        'vllm:num_requests_running{engine="0"} 1\nvllm:num_requests_waiting{engine="0"} 2\n'
        'vllm:prompt_tokens_total{engine="0"} 30\nvllm:generation_tokens_total{engine="0"} 4\n'
    )
    assert counters_of(vllm) == Counters(3, 30, 4, whole=True)
