"""Changes the text of a mode file: one entry, and every other character stays."""

from __future__ import annotations

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from gpumod.core.errors import InvalidRequestError


def with_service(text: str, service: str, preset: str) -> str:
    """The text with `service` run from `preset`; a service that is not there is added at the end.

    Args:
        text: a mode file that `parse_document` has read: bounded, one document.
        service: the service's id.
        preset: the preset's id.

    Raises:
        InvalidRequestError: there is no list of services, or YAML aliases stand in the way.
    """
    services = _services(text)
    for entry in services.value:
        if isinstance(entry, ScalarNode) and entry.value == service:
            return _replaced(text, entry, _entry(service, preset))
        if isinstance(entry, MappingNode) and _scalar(entry, "id") == service:
            return _with_preset(text, entry, preset)
    return _appended(text, services, _entry(service, preset))


def services_from(text: str, preset: str) -> list[str]:
    """The services of a mode's text that run from a preset, by their ids.

    Args:
        text: as for `with_service`.
        preset: the preset's id.

    Raises:
        InvalidRequestError: as `with_service`.
    """
    found = []
    for entry in _services(text).value:
        if isinstance(entry, ScalarNode):
            service, runs = entry.value, entry.value
        else:
            service = _scalar(entry, "id") if isinstance(entry, MappingNode) else None
            runs = (_scalar(entry, "preset") or service) if isinstance(entry, MappingNode) else None
        if service is not None and runs == preset:
            found.append(str(service))
    return found


def _services(text: str) -> SequenceNode:
    root = YAML(pure=True).compose(text)
    services = _value(root, "services") if isinstance(root, MappingNode) else None
    if not isinstance(services, SequenceNode):
        raise InvalidRequestError("the mode's file has no list of services")
    begin, end = services.start_mark.index, services.end_mark.index
    entries = [entry for entry in services.value if begin <= entry.start_mark.index < end]
    if len({id(entry) for entry in entries}) != len(services.value):
        raise InvalidRequestError("the mode's services use YAML aliases: change the file by hand")
    return services


def _entry(service: str, preset: str) -> str:
    return service if service == preset else f"{{id: {service}, preset: {preset}}}"


def _value(mapping: MappingNode, key: str) -> Node | None:
    return next((value for name, value in mapping.value if name.value == key), None)


def _scalar(mapping: MappingNode, key: str) -> str | None:
    value = _value(mapping, key)
    return value.value if isinstance(value, ScalarNode) else None


def _replaced(text: str, node: Node, new: str) -> str:
    return text[: node.start_mark.index] + new + text[node.end_mark.index :]


def _with_preset(text: str, entry: MappingNode, preset: str) -> str:
    present = _value(entry, "preset")
    if present is not None:
        return _replaced(text, present, preset)
    name, value = next((name, value) for name, value in entry.value if name.value == "id")
    if entry.flow_style:
        end = value.end_mark.index
        return f"{text[:end]}, preset: {preset}{text[end:]}"
    return _with_line(text, value.end_mark.index, f"{' ' * name.start_mark.column}preset: {preset}")


def _appended(text: str, services: SequenceNode, entry: str) -> str:
    if not services.flow_style:
        return _with_line(text, _last(services), f"{' ' * services.start_mark.column}- {entry}")
    if not services.value:
        return _replaced(text, services, f"[{entry}]")
    end = services.value[-1].end_mark.index
    return f"{text[:end]}, {entry}{text[end:]}"


def _last(node: Node) -> int:
    """Where a node's own text ends: a block's mark lies behind the comments that follow it."""
    while isinstance(node, SequenceNode | MappingNode) and not node.flow_style and node.value:
        node = node.value[-1] if isinstance(node, SequenceNode) else node.value[-1][1]
    end: int = node.end_mark.index
    return end


def _with_line(text: str, position: int, line: str) -> str:
    """The text with a line behind the one that a position is on, or that last had something."""
    written = len(text[:position].rstrip())
    end = text.find("\n", written)
    if end < 0:
        return f"{text}\n{line}\n"
    return f"{text[:end]}\n{line}{text[end:]}"
