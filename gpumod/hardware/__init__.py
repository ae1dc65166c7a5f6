"""Hardware: the box's cards through NVML, the host's memory, processes, ports and files.

`detect.open_hardware` gives the adapter of the `Hardware` port that fits this box, `probe.LocalHostProbe`
is the adapter of `HostProbe`. Nothing here decides anything: it reads, and says how far a reading can be
trusted.
"""
