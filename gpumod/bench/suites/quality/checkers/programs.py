"""What options mean to common programs: which take a value, and which are two names of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Grammar:
    """How a program reads its words.

    Args:
        values: options that take a value, by their first name.
        names: other names of options.
        number: the option that `-5` is short for.
        unordered: whether the order of the operands means nothing.
        inner: after so many operands the rest is another program's and stays as it is.
        old_style: whether a first word without a dash is a cluster of options (`tar xzf`).
    """

    values: frozenset[str] = frozenset()
    names: Mapping[str, str] = field(default_factory=dict)
    number: str = ""
    unordered: bool = False
    inner: int = 0
    old_style: bool = False


def _grammar(
    values: str = "",
    *,
    number: str = "",
    unordered: bool = False,
    inner: int = 0,
    old: bool = False,
    **names: str,
) -> Grammar:
    """Names are written as `n="lines"`: -n and --lines are one option."""
    pairs = {f"--{long}": f"-{short}" for short, longs in names.items() for long in longs.split()}
    return Grammar(
        frozenset(f"-{one}" if len(one) == 1 else f"--{one}" for one in values.split()),
        pairs,
        number,
        unordered,
        inner,
        old,
    )


# From the manual pages: GNU coreutils, grep, sed, tar, rsync, curl, git, docker, systemd, procps.
PROGRAMS: Final[Mapping[str, Grammar]] = {
    "ls": _grammar(
        "I w T", unordered=True, a="all", A="almost-all", h="human-readable", r="reverse", R="recursive"
    ),
    "cp": _grammar("t S", r="recursive", a="archive", p="preserve", v="verbose", f="force", n="no-clobber"),
    "mv": _grammar("t S", v="verbose", f="force", n="no-clobber"),
    "rm": _grammar(unordered=True, r="recursive", f="force", v="verbose", i="interactive"),
    "mkdir": _grammar("m", unordered=True, p="parents", v="verbose", m="mode"),
    "ln": _grammar("t S", s="symbolic", f="force", n="no-dereference", v="verbose"),
    "head": _grammar("n c", number="-n", n="lines", c="bytes", q="quiet"),
    "tail": _grammar("n c s pid", number="-n", n="lines", c="bytes", f="follow"),
    "wc": _grammar(unordered=True, l="lines", w="words", c="bytes", m="chars"),
    "sort": _grammar(
        "k t o T S",
        n="numeric-sort",
        r="reverse",
        k="key",
        t="field-separator",
        u="unique",
        o="output",
        h="human-numeric-sort",
        f="ignore-case",
    ),
    "uniq": _grammar("f s w", c="count", d="repeated", u="unique", i="ignore-case"),
    "cut": _grammar("d f c b output-delimiter", d="delimiter", f="fields", c="characters"),
    "tr": _grammar(d="delete", s="squeeze-repeats", c="complement"),
    "grep": _grammar(
        "e f m A B C include exclude exclude-dir",
        i="ignore-case",
        v="invert-match",
        r="recursive",
        n="line-number",
        l="files-with-matches",
        L="files-without-match",
        c="count",
        o="only-matching",
        w="word-regexp",
        E="extended-regexp",
        F="fixed-strings",
        P="perl-regexp",
        e="regexp",
        f="file",
        m="max-count",
        A="after-context",
        B="before-context",
        C="context",
        q="quiet silent",
        h="no-filename",
        H="with-filename",
    ),
    "sed": _grammar("e f l", n="quiet silent", i="in-place", E="regexp-extended", e="expression", f="file"),
    "tar": _grammar(
        "f C exclude X T",
        old=True,
        c="create",
        x="extract get",
        t="list",
        z="gzip",
        j="bzip2",
        J="xz",
        v="verbose",
        f="file",
        C="directory",
        p="preserve-permissions",
    ),
    "du": _grammar(
        "d B exclude t", s="summarize", h="human-readable", d="max-depth", a="all", c="total", unordered=True
    ),
    "df": _grammar("B t x", h="human-readable", T="print-type", i="inodes", unordered=True),
    "chmod": _grammar("reference", R="recursive", v="verbose"),
    "chown": _grammar("reference from", R="recursive", v="verbose", h="no-dereference"),
    "kill": _grammar("s", s="signal"),
    "ps": _grammar("o p u C sort", o="format", p="pid"),
    "curl": _grammar(
        "o H d X u m A F T data-binary data-raw retry connect-timeout",
        o="output",
        O="remote-name",
        L="location",
        s="silent",
        S="show-error",
        f="fail",
        H="header",
        d="data",
        X="request",
        u="user",
        I="head",
        k="insecure",
        m="max-time",
        i="include",
    ),
    "rsync": _grammar(
        "e exclude include f", a="archive", v="verbose", n="dry-run", z="compress", e="rsh", r="recursive"
    ),
    "ssh": _grammar("p i L R D l o J F", inner=1),
    "scp": _grammar("P i o l F"),
    "journalctl": _grammar(
        "u n S U p o b t",
        u="unit",
        n="lines",
        S="since",
        U="until",
        f="follow",
        p="priority",
        o="output",
        r="reverse",
        k="dmesg",
    ),
    "systemctl": _grammar("t p state n", t="type", p="property", n="lines", a="all"),
    "git": _grammar(
        "m C n b B author since until format pretty max-count",
        number="-n",
        m="message",
        n="max-count",
        a="all",
    ),
    "git push": _grammar("o", u="set-upstream", f="force", d="delete", n="dry-run"),
    "git branch": _grammar("u", d="delete", m="move", a="all", r="remotes", u="set-upstream-to"),
    "git switch": _grammar("c C", c="create", C="force-create"),
    "git commit": _grammar("m F C author date", m="message", a="all", F="file"),
    "git log": _grammar("n S G author since until format pretty grep", number="-n", n="max-count", p="patch"),
    "docker": _grammar(
        "p v e w name network t f n filter format user entrypoint",
        p="publish",
        v="volume",
        e="env",
        d="detach",
        i="interactive",
        w="workdir",
        n="tail lines",
        a="all",
    ),
    "docker run": _grammar(
        "p v e w u name network entrypoint restart m gpus mount",
        inner=2,
        p="publish",
        v="volume",
        e="env",
        d="detach",
        i="interactive",
        t="tty",
        w="workdir",
        u="user",
        m="memory",
    ),
    "docker build": _grammar("t f build-arg target", t="tag", f="file"),
    "docker logs": _grammar("n since until", f="follow", n="tail", t="timestamps"),
    "docker ps": _grammar("f format n", a="all", q="quiet", f="filter", n="last"),
    "xargs": _grammar(
        "n P I d L a", inner=1, r="no-run-if-empty", n="max-args", P="max-procs", d="delimiter"
    ),
    "date": _grammar("d r f", d="date", u="utc universal"),
    "touch": _grammar("t d r", d="date", r="reference", unordered=True),
    "diff": _grammar("U C", r="recursive", U="unified", q="brief", i="ignore-case", w="ignore-all-space"),
    "nvidia-smi": _grammar("i l query-gpu format", i="id", l="loop"),
    "crontab": _grammar("u"),
    "tee": _grammar(a="append"),
    "split": _grammar("l b a n", l="lines", b="bytes", d="numeric-suffixes"),
    "ss": _grammar(t="tcp", u="udp", l="listening", n="numeric", p="processes", a="all"),
    "pgrep": _grammar("u", f="full", l="list-name", a="list-full", u="euid"),
    "pkill": _grammar("u", f="full", u="euid"),
    "sha256sum": _grammar(c="check", b="binary"),
    "gzip": _grammar(
        "S", d="decompress uncompress", k="keep", f="force", c="stdout to-stdout", r="recursive"
    ),
    "jq": _grammar(
        "f indent",
        r="raw-output",
        c="compact-output",
        s="slurp",
        n="null-input",
        e="exit-status",
        S="sort-keys",
    ),
}

SAME: Final[Mapping[tuple[str, str], str]] = {
    ("cp", "-R"): "-r",
    ("rm", "-R"): "-r",
    ("sed", "-r"): "-E",
    ("grep", "-R"): "-r",
    ("docker run", "--net"): "--network",
}
"""Options that do the same as another one, for any use in a scenario."""

UNKNOWN: Final = Grammar()


def grammar_of(words: list[str]) -> tuple[str, Grammar]:
    """The grammar for a command's words, and the name that it goes by."""
    two = " ".join(words[:2])
    if two in PROGRAMS:
        return two, PROGRAMS[two]
    return words[0], PROGRAMS.get(words[0], UNKNOWN)
