"""The home's own sentences: read leniently, since one bad one must not cost the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import factorial

from hassil.expression import Expression, Group, Permutation, RuleReference, Sentence
from hassil.intents import IntentData
from hassil.parse_expression import parse_sentence
from hassil.parser import ParseError

LARGEST = 50_000
"""Parts of all sentences together. Each order of "(a;b;c;d;e)" is written out, so that a
short template may hold millions."""

_DEEPEST = 50


@dataclass(frozen=True)
class Custom:
    """What could be read, with the block that it stands in, and what could not."""

    sentences: Mapping[str, Sentence]
    block: IntentData
    unreadable: tuple[str, ...]


def read_custom(templates: Iterable[str], rules: Mapping[str, Sentence]) -> Custom:
    """Parse templates of hassil; `rules` are those that they may refer to."""
    read: dict[str, Sentence] = {}
    unreadable = []
    left = LARGEST
    for template in dict.fromkeys(templates):
        try:
            sentence = parse_sentence(template)
            size = _size(sentence.expression, rules, _DEEPEST)
        except (ParseError, ValueError, RecursionError):
            size = LARGEST + 1
        if size > left:
            unreadable.append(template)
        else:
            read[template] = sentence
            left -= size
    return Custom(read, IntentData(list(read)), tuple(unreadable))


def _size(expression: Expression, rules: Mapping[str, Sentence], deepest: int) -> int:
    """How many parts it has once it is written out; ValueError where it cannot be."""
    if deepest == 0:
        raise ValueError("nested too deeply")
    if isinstance(expression, RuleReference):
        if (rule := rules.get(expression.rule_name)) is None:
            raise ValueError(f"unknown rule <{expression.rule_name}>")
        return _size(rule.expression, rules, deepest - 1)
    if not isinstance(expression, Group):
        return 1
    parts = sum(_size(item, rules, deepest - 1) for item in expression.items)
    if isinstance(expression, Permutation):
        parts *= factorial(len(expression.items))
    return parts
