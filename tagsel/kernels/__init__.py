"""Arithmetic on plain arrays: elementary functions of our own, kinematics, exact integers, values by event.

`elementary`, `physics`, `segments` and `integers` need NumPy alone; `jit` hands out the same functions
compiled by numba, which it loads when it is first asked. Loops over memory (`driver`, `several`, `filling`,
`listing`, `finding`, `patterns`) are Python functions, too, on the tables of `layouts`; `native` compiles them.
Invariant: the room knows arrays and nothing else of tagsel.
"""
