"""Room in one piece of memory that is set aside once."""

from __future__ import annotations


class Regions:
    """Hands out pieces of so many bytes, first fit, and takes them back in any order."""

    #: Pieces begin at multiples of it, so that numbers of every type lie as their loads want them.
    ALIGNMENT = 256

    def __init__(self, size: int) -> None:
        self.size = size
        self._taken: dict[int, int] = {}

    @property
    def taken(self) -> int:
        """Pieces that are out."""
        return len(self._taken)

    def take(self, size: int) -> int | None:
        """Where the piece begins; None if there is no room for it now."""
        length = -(-size // self.ALIGNMENT) * self.ALIGNMENT
        position = 0
        for start, end in sorted(self._taken.items()):
            if start - position >= length:
                break
            position = end
        if position + length > self.size:
            return None
        self._taken[position] = position + length
        return position

    def give_back(self, start: int) -> None:
        """The piece that begins there may be handed out again."""
        del self._taken[start]
