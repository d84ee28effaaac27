"""Real engines of the grid, started on loopback for tests: what `scripts/testbed` installed, how each begins and ends.

Invariant: each server listens on 127.0.0.1 only, where it can, lives in a folder of its own, is waited for until it
answers, and is stopped by its process id.
"""
