"""Prints the tables, or writes them between their markers: `--write docs/footprints.md`."""

import argparse
import tempfile
from pathlib import Path

from tests.estimate.proof.page import written
from tests.estimate.proof.tables import cases, tables

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--write", type=Path, metavar="PAGE")
page = parser.parse_args().write
with tempfile.TemporaryDirectory(prefix="gpumod-proof-") as folder:
    made = tables(cases(Path(folder)))
if page is None:
    print("\n\n".join(made.values()))
else:
    page.write_text(written(page.read_text(), made))
