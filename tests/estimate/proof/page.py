"""Tables within a page, between markers: `<!-- table: NAME -->` and `<!-- end -->`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_TABLE: Final = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def written(page: str, tables: Mapping[str, str]) -> str:
    """The page with these tables.

    Raises:
        ValueError: a table has no place in the page, or a place no table.
    """
    places = {match[2] for match in _TABLE.finditer(page)}
    if places != set(tables):
        raise ValueError(f"tables without a place, or places without a table: {places ^ set(tables)}")
    return _TABLE.sub(lambda match: f"{match[1]}{tables[match[2]]}\n{match[3]}", page)
