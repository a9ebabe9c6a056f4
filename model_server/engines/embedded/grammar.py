"""A network of words becomes the smallest deterministic grammar that says the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
import random

from .network import OPEN, Network

_TRIE = -1
"""Marks a state inside a list: (trie's index, node, state after the list)."""

_Item = tuple[int, int, int]


@dataclass(frozen=True)
class Grammar:
    """A minimal acyclic automaton: state 0 starts; arcs are (from, to, word)."""

    states: int
    arcs: tuple[tuple[int, int, str], ...]
    accepting: tuple[int, ...]
    sentences: int

    @property
    def words(self) -> tuple[str, ...]:
        """Every word that is known and can be said, sorted."""
        return tuple(sorted({word for _, _, word in self.arcs} - {OPEN}))

    def known_arcs(self) -> tuple[tuple[int, int, str], ...]:
        """Return the arcs of the sentences that are of known words only."""
        whole = set(self.accepting)
        arcs = [arc for arc in self.arcs if arc[2] != OPEN]
        # A state comes before those that it leads to.
        for source, target, _ in sorted(arcs, reverse=True):
            if target in whole:
                whole.add(source)
        return tuple(arc for arc in arcs if arc[1] in whole)

    def sample(self, random_state: random.Random) -> str:
        """Return a random sentence of known words; each arc is as likely as its sisters."""
        after: dict[int, list[tuple[int, str]]] = {}
        for source, target, word in self.known_arcs():
            after.setdefault(source, []).append((target, word))
        state = 0
        said: list[str] = []
        while True:
            choices = after.get(state, [])
            if state in self.accepting and (
                not choices or random_state.random() < 1 / (len(choices) + 1)
            ):
                return " ".join(said)
            state, word = random_state.choice(choices)
            said.append(word)


def compile_network(network: Network, shortest: int = 1) -> Grammar:
    """Determinise and minimise; sentences of fewer words than `shortest` are left out.

    Raises ValueError if nothing can be said.
    """
    arcs, accepting = _determinise(network)
    _lengthen(arcs, accepting, 0, shortest)
    return _minimise(arcs, accepting)


def _determinise(network: Network) -> tuple[list[dict[str, int]], set[int]]:
    """Subset construction; lists are walked in place, never copied.

    Returns the arcs of each state by word, and the accepting states. The start
    is state 0.
    """
    tries = list(network.tries.values())
    index = {key: number for number, key in enumerate(network.tries)}

    def close(items: Iterator[_Item]) -> frozenset[_Item]:
        closed = set(items)
        for kind, state, _ in tuple(closed):
            if kind == _TRIE:
                for key, after in network.lists.get(state, ()):
                    closed.add((index[key], 0, after))
        return frozenset(closed)

    start = close((_TRIE, state, 0) for state in network.starts)
    numbers = {start: 0}
    arcs: list[dict[str, int]] = [{}]
    accepting = set()
    todo = [start]
    while todo:
        items = todo.pop()
        number = numbers[items]
        moves: dict[str, set[_Item]] = {}
        for kind, state, after in items:
            if kind == _TRIE:
                if state in network.accepting:
                    accepting.add(number)
                for word, target in network.words.get(state, ()):
                    moves.setdefault(word, set()).add((_TRIE, target, 0))
            else:
                trie = tries[kind]
                for word, node in trie.children[state].items():
                    reached = moves.setdefault(word, set())
                    if trie.children[node]:
                        reached.add((kind, node, after))
                    if node in trie.ends:
                        reached.add((_TRIE, after, 0))
        for word, reached in moves.items():
            closed = close(iter(reached))
            if closed not in numbers:
                numbers[closed] = len(arcs)
                arcs.append({})
                todo.append(closed)
            arcs[number][word] = numbers[closed]
    return arcs, accepting


def _lengthen(
    arcs: list[dict[str, int]], accepting: set[int], state: int, shortest: int
) -> None:
    """Let no sentence from a state be shorter; states on such a way become copies."""
    if shortest <= 1:
        return
    for word, target in tuple(arcs[state].items()):
        copy = arcs[state][word] = len(arcs)
        arcs.append(dict(arcs[target]))
        _lengthen(arcs, accepting, copy, shortest - 1)


def _minimise(arcs: list[dict[str, int]], accepting: set[int]) -> Grammar:
    """Merge states with the same future, from the ends backwards (no cycles)."""
    register: dict[tuple[bool, tuple[tuple[str, int], ...]], int] = {}
    merged: dict[int, int] = {}
    counts: list[int] = []
    futures: list[tuple[tuple[str, int], ...]] = []
    finals: list[int] = []
    dead = -1
    for state in _children_first(arcs):
        future = tuple(
            sorted(
                (word, merged[target])
                for word, target in arcs[state].items()
                if merged[target] != dead
            )
        )
        final = state in accepting
        if not future and not final:
            merged[state] = dead
            continue
        key = (final, future)
        number = register.get(key)
        if number is None:
            number = register[key] = len(futures)
            futures.append(future)
            counts.append(final + sum(counts[target] for _, target in future))
            if final:
                finals.append(number)
        merged[state] = number
    if merged[0] == dead:
        raise ValueError("No sentence fits this home")
    # The start comes last in this order; the decoder wants it first.
    last = len(futures) - 1
    return Grammar(
        states=len(futures),
        arcs=tuple(
            (last - state, last - target, word)
            for state in range(last, -1, -1)
            for word, target in futures[state]
        ),
        accepting=tuple(sorted(last - state for state in finals)),
        sentences=counts[merged[0]],
    )


def _children_first(arcs: list[dict[str, int]]) -> Iterator[int]:
    """Yield states reachable from 0, each after all states it leads to."""
    seen = {0}
    stack = [(0, iter(arcs[0].values()))]
    while stack:
        state, targets = stack[-1]
        for target in targets:
            if target not in seen:
                seen.add(target)
                stack.append((target, iter(arcs[target].values())))
                break
        else:
            stack.pop()
            yield state
