"""`doctor`: what is wrong with this installation, and the daemon's systemd unit."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Annotated

import typer

from gpumod.cli import unit
from gpumod.cli.checks import Finding, Verdict, all_checks, user_name
from gpumod.cli.command import command
from gpumod.cli.commands.config import ConfigFolder
from gpumod.cli.layout import Block, Cell, Text, line
from gpumod.cli.outcome import ExitCode
from gpumod.cli.session import Session
from gpumod.cli.unit import Variant
from gpumod.core.errors import ConfigError, InvalidRequestError, NotFoundError

_STYLES = {Verdict.OK: "good", Verdict.NOTE: "warn", Verdict.BAD: "bad"}
_INDENT = 17
_PANEL = "The daemon's systemd unit"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    command(app, "doctor")(doctor)


def _flag(name: str, help_text: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(name, help=help_text, rich_help_panel=_PANEL)
    return option


_Install = Annotated[bool, _flag("--install-unit", "Write, enable and start it; engines are not touched.")]
_Uninstall = Annotated[bool, _flag("--uninstall-unit", "Stop, disable and remove it; engines go on.")]
_Print = Annotated[bool, _flag("--print", "With --install-unit: only show the unit.")]
_System = Annotated[bool, _flag("--system", "For the whole system, the daemon as root. Root's default.")]
_User = Annotated[bool, _flag("--user", "For this user, kept up by linger. Recommended, and the default.")]


def doctor(
    session: Session,
    config: ConfigFolder = None,
    install_unit: _Install = False,
    uninstall_unit: _Uninstall = False,
    print_only: _Print = False,
    system: _System = False,
    user: _User = False,
) -> ExitCode:
    """Check this installation, or install the daemon's systemd unit. Works without a daemon."""
    if (system and user) or (install_unit and uninstall_unit):
        raise InvalidRequestError("these options contradict each other: give one of each pair")
    if not (install_unit or uninstall_unit or print_only):
        return _check(session, config)
    variant = Variant.SYSTEM if system or (os.getuid() == 0 and not user) else Variant.USER
    if uninstall_unit:
        return _done(session, variant, unit.apply(unit.removal(variant, os.environ)))
    text = _unit_text(variant, config)
    if print_only:
        return session.emit({"path": str(unit.unit_file(variant, os.environ)), "unit": text}, _lines(text))
    install = unit.installation(variant, os.environ, text, user=user_name(os.getuid()))
    return _done(session, variant, unit.apply(install))


def _lines(text: str) -> list[Block]:
    return [line(one) for one in text.splitlines()]


def _done(session: Session, variant: Variant, done: tuple[str, ...]) -> ExitCode:
    return session.emit({"variant": str(variant), "done": list(done)}, [line(one) for one in done])


def _check(session: Session, config: Path | None) -> ExitCode:
    findings = list(all_checks(session, config))
    well = all(finding.verdict is not Verdict.BAD for finding in findings)
    blocks = [block for finding in findings for block in _finding(finding)]
    session.emit({"ok": well, "checks": findings}, blocks)
    return ExitCode.DONE if well else ExitCode.FAILED


def _finding(finding: Finding) -> list[Block]:
    verdict = Cell(finding.verdict.ljust(6), _STYLES[finding.verdict])
    told: list[Block] = [
        Text((verdict, Cell(finding.check.ljust(11), "head"), Cell(finding.detail)), indent=_INDENT)
    ]
    return [*told, line(f"-> {finding.hint}", "dim", lead=_INDENT)] if finding.hint else told


def _unit_text(variant: Variant, config: Path | None) -> str:
    """The unit for this installation and configuration.

    Raises:
        ConfigError: the daemon could not start with these settings.
    """
    from gpumod.config.settings import load_settings

    env = dict(os.environ)
    if variant is Variant.SYSTEM and config is None and "GPUMOD_CONFIG" not in env:
        env = {name: value for name, value in env.items() if name not in {"HOME", "XDG_CONFIG_HOME"}}
    try:
        settings = load_settings(config, env)
    except ConfigError as error:
        raise ConfigError(f"the daemon would not start: {error.detail}", error.facts) from error
    given = (str(gpumodd()), "--config", str(config.absolute())) if config else (str(gpumodd()),)
    return unit.render(
        variant, given, unit.environment(variant, os.environ, engine_user=settings.engine_user)
    )


def gpumodd() -> Path:
    """The daemon that belongs to this gpumodctl.

    Raises:
        NotFoundError: it is nowhere.
    """
    beside = (Path(sys.argv[0]).parent, Path(sys.executable).parent, Path(sysconfig.get_path("scripts")))
    for folder in beside:
        if os.access(folder / "gpumodd", os.X_OK):
            return (folder / "gpumodd").absolute()
    if found := shutil.which("gpumodd"):
        return Path(found).absolute()
    raise NotFoundError(f"gpumodd is not installed beside {sys.executable}: reinstall gpumod")
