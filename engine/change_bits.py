"""How many bits a multiple of a step may take, for who states it without NumPy."""

from typing import Final

MOST_BITS: Final = 10
"""Its sign included."""
