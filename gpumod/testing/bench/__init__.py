"""What gpumod costs, measured beside what it is compared with: `make bench`.

Every number is taken side by side with its alternative, in turns (A B A B), because machines are
noisy: what is told are medians of several rounds, of the paired differences and ratios too.
"""
