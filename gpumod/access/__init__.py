"""Who may do what: keys, scopes, and the checks on where a request comes from.

Pure: facts about a request go in, a verdict comes out.
"""

from gpumod.access.keys import Key, Principal, Scope, digest, identify, new_key
from gpumod.access.rules import AccessRules, Allowed, Denied, RequestFacts, judge, scope_needed

__all__ = [
    "AccessRules",
    "Allowed",
    "Denied",
    "Key",
    "Principal",
    "RequestFacts",
    "Scope",
    "digest",
    "identify",
    "judge",
    "new_key",
    "scope_needed",
]
