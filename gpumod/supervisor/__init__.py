"""The supervisor: the only room that changes the world.

It gathers facts, asks the planner, writes the journal before each act, acts through the ports,
watches what runs, and converges after an interruption.
"""
