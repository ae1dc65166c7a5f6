"""Where a connection comes from, as the access rules want to know it."""

from __future__ import annotations

import asyncio
import socket


def where_from(transport: asyncio.Transport) -> tuple[bool, str, str]:
    """Whether it came through a Unix socket, the address or path that it came to, and the peer's address."""
    own = transport.get_extra_info("sockname")
    peer = transport.get_extra_info("peername")
    real = transport.get_extra_info("socket")
    unix = real is not None and real.family == socket.AF_UNIX
    local_host = str(own[0]) if isinstance(own, tuple) else str(own or "")
    return unix, local_host, str(peer[0]) if isinstance(peer, tuple) else ""
