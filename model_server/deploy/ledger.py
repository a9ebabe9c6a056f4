"""What all ingress replicas share, kept in one data folder: token and vocabulary."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final

from model_server.api.auth import TokenFile
from model_server.api.vocabulary import VocabularyBody, VocabularyFile, to_vocabulary
from model_server.deploy.messages import State
from model_server.engines.base import Vocabulary
from model_server.store import installation_id, write_private

PATIENCE_S: Final = 5.0
"""How long a question for news stays open."""

TOKEN_S: Final = 1.0
"""How soon a token that was rotated on the ledger's machine counts everywhere."""


class Ledger:
    """One in a cluster, on the machine that has the data folder.

    It is the folder of `python -m model_server serve`: going over to Ray and back
    keeps token, id and vocabulary.
    """

    def __init__(self, data_dir: Path, patience_s: float = PATIENCE_S) -> None:
        """Read what is there; make token and id where there are none."""
        self._patience_s = patience_s
        self._token = TokenFile(data_dir)
        self._token.ensure()
        self._installation = installation_id(data_dir)
        self._file = VocabularyFile(data_dir)
        self._numbers = data_dir / "vocabulary.number"
        self._news = asyncio.Event()
        body = self._file.load()
        self._vocabulary = to_vocabulary(body) if body else None
        # What replicas learnt under an old number may be another vocabulary.
        self._number = self.reserve() if body else 0

    def state(self) -> State:
        """What holds now."""
        return State(
            self._number, self._vocabulary, self._token.read(), self._installation
        )

    def reserve(self) -> int:
        """A number that was never given before, also before a restart."""
        try:
            last = int(self._numbers.read_text("ascii"))
        except (FileNotFoundError, ValueError):
            last = 0
        write_private(self._numbers, f"{last + 1}\n".encode())
        return last + 1

    def publish(self, number: int, vocabulary: Vocabulary) -> None:
        """Make it everybody's, unless one that was reserved later is so already."""
        if number <= self._number:
            return
        self._file.save(VocabularyBody.model_validate(asdict(vocabulary)))
        self._number, self._vocabulary = number, vocabulary
        self._news.set()
        self._news = asyncio.Event()

    async def news(self, number: int, token: str) -> State:
        """Answer when number or token differ from these, or when patience ends."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._patience_s
        while True:
            state = self.state()
            known = (state.number, state.token) == (number, token)
            if not known or loop.time() >= end:
                return state
            with suppress(TimeoutError):
                async with asyncio.timeout(min(TOKEN_S, self._patience_s)):
                    await self._news.wait()
