"""A network of words: everything that may be said, before it is made small."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

END = 0
"""The state in which a sentence is complete."""

OPEN = "\u2026"
"""Stands for words that nobody knows beforehand, in a phrase and in a grammar."""


@dataclass
class Trie:
    """Phrases of a list, shared by their beginnings: node 0 is the root."""

    children: list[dict[str, int]] = field(default_factory=lambda: [{}])
    ends: set[int] = field(default_factory=set)

    def add(self, phrase: Iterable[str]) -> None:
        """Add one phrase, word by word."""
        node = 0
        for word in phrase:
            after = self.children[node].get(word)
            if after is None:
                after = len(self.children)
                self.children.append({})
                self.children[node][word] = after
            node = after
        if node:
            self.ends.add(node)


@dataclass
class Network:
    """A nondeterministic acyclic network of words; lists are arcs of their own."""

    starts: list[int] = field(default_factory=list)
    words: dict[int, list[tuple[str, int]]] = field(default_factory=dict)
    lists: dict[int, list[tuple[str, int]]] = field(default_factory=dict)
    accepting: set[int] = field(default_factory=lambda: {END})
    tries: dict[str, Trie] = field(default_factory=dict)
    numbers: dict[str, int | float] = field(default_factory=dict)
    unheard: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def add(self, sentence: str) -> None:
        """Add one whole sentence as it stands."""
        *before, last = sentence.split()
        state = min(self.words, default=0)
        state = min(state, END) - 1
        self.starts.append(state)
        for word in before:
            self.words[state] = [(word, state - 1)]
            state -= 1
        self.words[state] = [(last, END)]

    def drop(self, silent: frozenset[str]) -> None:
        """Take words out, and with them every phrase that has one."""
        for state, arcs in self.words.items():
            self.words[state] = [arc for arc in arcs if arc[0] not in silent]
        for trie in self.tries.values():
            for children in trie.children:
                for word in silent & children.keys():
                    del children[word]
