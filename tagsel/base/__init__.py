"""What every room needs of the operating system: atomic writes, lock files, checksums, CPUs, settings, fail points.

Nothing here knows what an event is. A module is one tool; import it by its own name.
"""
