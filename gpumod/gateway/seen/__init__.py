"""What is seen of requests: their accounts, and metrics over them. Written off the path of bytes."""

from gpumod.gateway.seen.ledger import Ledger

__all__ = ["Ledger"]
