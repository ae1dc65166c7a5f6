"""The tables of `docs/footprints.md`, from the recorded launches and the formulas as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, quantiles
from typing import Final

from gpumod.core.spec import EngineKind
from gpumod.core.units import GIB, MIB
from tests.estimate.llama.launches import ARCHITECTURES, matrix
from tests.estimate.proof.judge import Verdict, taught_by_another, taught_by_its_like, untaught
from tests.estimate.proof.launches import HELD_OUT, SEEN, Launch, launches
from tests.estimate.proof.reasons import reason
from tests.estimate.proof.remembered import remembered
from tests.estimate.vllm import readings as vllm

ENGINES: Final = {EngineKind.LLAMA_CPP: "llama.cpp", EngineKind.VLLM: "vLLM"}
SAMPLES: Final = {SEEN: "in-sample", HELD_OUT: "held-out"}
NOTHING: Final = "nothing learned"
ANOTHER: Final = "one launch of another model seen"
LIKE: Final = "one launch of the same files seen"
ONE: Final = "the same, one parameter changed"


@dataclass(frozen=True)
class Case:
    """Launches of one engine and sample, with one kind of knowledge."""

    engine: EngineKind
    sample: str
    knowledge: str
    verdicts: tuple[Verdict, ...]


def cases(folder: Path) -> tuple[Case, ...]:
    """Everything that is judged.

    A launch that was held out is judged after launches of the first sample, which were earlier; its own
    files, which only it may have, after any other launch of them.
    """
    with remembered():
        return tuple(_cases(folder))


def _cases(folder: Path) -> Iterator[Case]:
    for engine in ENGINES:
        samples = {sample: launches(engine, sample, folder) for sample in SAMPLES}
        everything = tuple(one for sample in samples.values() for one in sample)
        alike = {SEEN: samples[SEEN], HELD_OUT: everything}
        for sample, chosen in samples.items():
            if chosen:
                like = taught_by_its_like(alike[sample])
                own = tuple(one for one in like if one.launch.sample == sample)
                yield Case(engine, sample, NOTHING, untaught(chosen))
                yield Case(engine, sample, ANOTHER, taught_by_another(samples[SEEN], chosen))
                yield Case(engine, sample, LIKE, own)
                yield Case(engine, sample, ONE, tuple(one for one in own if _near(one)))


def _near(verdict: Verdict) -> bool:
    return verdict.teacher is not None and verdict.launch.changed(verdict.teacher) == 1


def tables(judged: Sequence[Case]) -> dict[str, str]:
    """Each table in Markdown, by its name."""
    return {
        "errors": "\n".join(_errors(judged)),
        "charges": "\n".join(_charges(judged)),
        "misses": "\n".join(_misses(judged)),
        "pools": "\n".join(_pools()),
        "cpu": _cpu(),
        "launches": "\n\n".join(_each(judged)),
    }


def _errors(judged: Iterable[Case]) -> Iterator[str]:
    figures = "judged | mean | median | p90 | worst over | worst under | in 2 %"
    yield f"| engine | sample | known before | {figures} |"
    yield "| --- | --- | --- | --: | --: | --: | --: | --: | --: | --: |"
    for case in judged:
        if not case.verdicts:
            continue
        shares = [abs(one.share) for one in case.verdicts]
        ninth = quantiles(shares, n=10, method="inclusive")[-1] if len(shares) > 1 else shares[0]
        low = min(case.verdicts, key=lambda one: one.error)
        figures = (
            f"{len(shares)} | {fmean(shares):.2f} % | {median(shares):.2f} % | {ninth:.2f} % | "
            f"{max(0, *(one.share for one in case.verdicts)):.2f} % | {_under(low)} | "
            f"{sum(one <= 2 for one in shares)}"
        )
        yield f"{_head(case)} | {figures} |"


def _under(verdict: Verdict) -> str:
    return f"{-verdict.error // MIB} MiB ({-verdict.share:.2f} %)" if verdict.error < 0 else "never"


def _charges(judged: Iterable[Case]) -> Iterator[str]:
    yield "| engine | sample | known before | judged | least | median | most | charged too little |"
    yield "| --- | --- | --- | --: | --: | --: | --: | --: |"
    for case in judged:
        if not case.verdicts:
            continue
        room = [(one.charged - one.launch.peak) // MIB for one in case.verdicts]
        short = sum(one < 0 for one in room)
        spread = f"{min(room):+} MiB | {median(room):+.0f} MiB | {max(room):+} MiB"
        figures = f"{len(room)} | {spread} | {short or 'none'}"
        yield f"{_head(case)} | {figures} |"


def _head(case: Case) -> str:
    return f"| {ENGINES[case.engine]} | {SAMPLES[case.sample]} | {case.knowledge}"


def missed(judged: Iterable[Case]) -> dict[tuple[EngineKind, str, str], tuple[Verdict, ...]]:
    """The launches that any kind of knowledge misses, by engine, sample and name."""
    found: dict[tuple[EngineKind, str, str], tuple[Verdict, ...]] = {}
    for case in judged:
        for one in filter(lambda one: one.missed, case.verdicts):
            key = (case.engine, case.sample, one.launch.name)
            found[key] = (*found.get(key, ()), one)
    return found


def _misses(judged: Iterable[Case]) -> Iterator[str]:
    yield "| engine | sample | launch | times | errors | reason |"
    yield "| --- | --- | --- | --: | --: | --- |"
    for (engine, sample, _), verdicts in missed(judged).items():
        low, high = (pick(verdicts, key=lambda one: one.error) for pick in (min, max))
        errors = f"{low.error // MIB:+} MiB ({low.share:+.1f} %)"
        if high is not low:
            errors += f" to {high.error // MIB:+} MiB ({high.share:+.1f} %)"
        launch = verdicts[0].launch
        which = f"| {ENGINES[engine]} | {SAMPLES[sample]} | {short_name(launch)}"
        yield f"{which} | {len(verdicts)} | {errors} | {reason(launch)} |"


def _pools() -> Iterator[str]:
    yield "| sample | launch | blocks logged | non-KV part known | nothing known | tokens: logged, formula |"
    yield "| --- | --- | --: | --: | --: | --: |"
    for one in filter(lambda one: one.complete, vllm.every()):
        least, most = pool_range(one)
        known = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        alone = one.plan.pool
        off = 100 * (alone.blocks - one.blocks) / one.blocks
        tokens = one.pool(one.blocks * alone.bytes_per_block).tokens
        sample = SAMPLES[SEEN if one.file == vllm.SEEN else HELD_OUT]
        yield (
            f"| {sample} | {one.name} | {one.blocks:,} | {known} | {alone.blocks:,} "
            f"({off:+.2f} %) | {one.log['kv_tokens']:,}, {tokens:,} |"
        )


def pool_range(one: vllm.Reading) -> tuple[int, int]:
    """The fewest and the most blocks that the bytes for the cache, as logged, make: they are rounded."""
    if "available_kv_gib" not in one.log or one.plan.setting.kv_cache_memory is not None:
        return (one.plan.pool.blocks,) * 2
    available = one.log["available_kv_gib"]
    least, most = (one.pool(int((available + half) * GIB)).blocks for half in (-0.005, 0.005))
    return least, most


def _cpu() -> str:
    count = sum(1 for _ in matrix())
    return (
        f"{count} launches: {len(ARCHITECTURES)} architectures ({', '.join(ARCHITECTURES)}) × "
        "2 contexts × 2 numbers of slots × 2 ubatches × 4 of KV type and flash attention."
    )


def _each(judged: Sequence[Case]) -> Iterator[str]:
    known = {(case.engine, case.sample, case.knowledge): case.verdicts for case in judged}
    for (engine, sample, knowledge), verdicts in known.items():
        if knowledge == NOTHING:
            lines = [f"#### {ENGINES[engine]}, {SAMPLES[sample]}", ""]
            lines += ["| launch | NVML's highest | nothing learned | another model's launch seen |"]
            lines += ["| --- | --: | --: | --: |"]
            others = known[engine, sample, ANOTHER]
            lines += [_line(one, [two for two in others if two.launch is one.launch]) for one in verdicts]
            yield "\n".join(lines)


def _line(one: Verdict, others: Sequence[Verdict]) -> str:
    peak, expected = one.launch.peak // MIB, one.expected // MIB
    least, most = (pick((two.share for two in others), default=0.0) for pick in (min, max))
    return (
        f"| {short_name(one.launch)} | {peak:,} MiB | {expected:,} MiB, {one.share:+.2f} % | "
        f"{least:+.2f} to {most:+.2f} % |"
    )


def short_name(launch: Launch) -> str:
    """Without what is the same in nearly all launches."""
    usual = {"slots-1", "flash_attention-on", "threads-8"}
    return " ".join(word for word in launch.name.split() if word not in usual)
