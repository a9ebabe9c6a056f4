"""Notices when a model goes in circles, while it still writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

LONGEST_PERIOD: Final = 64
"""Tokens of the longest sentence whose repetition is noticed."""
_FEW_TOKENS: Final = 24
_TIMES: Final = 4


class Repetition:
    """Finds a tail that is one passage, over and over.

    A passage of n tokens repeats when it stood there four times in a row and the
    repeats are 24 tokens together at least: "no, no, no, no" is something people
    say, thirty times "no" is not.
    """

    def __init__(self) -> None:
        """Nothing was written."""
        self._tokens: list[int] = []
        self._same = [0] * (LONGEST_PERIOD + 1)
        """For each period, how many tokens in a row equal the one a period before."""

    def add(self, tokens: Sequence[int]) -> int | None:
        """Write tokens; where they go in circles, how many to keep of all so far.

        What is kept has the passage once.
        """
        for token in tokens:
            self._tokens.append(token)
            count = len(self._tokens)
            for period in range(1, min(LONGEST_PERIOD, count - 1) + 1):
                same = self._tokens[-1 - period] == token
                run = self._same[period] = self._same[period] + 1 if same else 0
                if run >= max(_FEW_TOKENS, (_TIMES - 1) * period):
                    return count - run
        return None
