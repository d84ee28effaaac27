"""What a bound cut means on data: the interpreter, compiled steps, and the same cut as SQL.

Invariant: all meanings agree row by row; which one answers is never seen in an answer.
"""
