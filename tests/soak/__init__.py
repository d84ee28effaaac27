"""The fault suite at its size: kills, damage, failing disks, odd cuts and crowds, run by `scripts/soak`.

Each module is one kind of fault and has a function that takes a seed and a number of trials and returns a `Tally`.
The tests in `tests/test_soak.py` run a small share of each.
"""
