"""Writes the documentation's page to standard output."""

import sys

from gpumod.estimate.landmines.page import page

sys.stdout.write(page())
