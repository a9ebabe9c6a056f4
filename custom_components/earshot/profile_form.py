"""The folded parts of a microphone's form: other profiles, sensitivity and rules."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from homeassistant.data_entry_flow import section
from homeassistant.helpers.selector import (
    NumberSelector,
    NumberSelectorConfig,
    NumberSelectorMode,
    ObjectSelector,
    ObjectSelectorConfig,
    ObjectSelectorField,
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
)
import voluptuous as vol

from .client import Label
from .const import (
    AWAY,
    CONF_GUARD,
    CONF_LABELS,
    CONF_RULES,
    CONF_SENSITIVITY,
    CONF_SOUNDS,
    CONF_WATCH,
    NIGHT,
)
from .profiles import AS_AT_HOME, CHOSEN, SENSITIVITIES, WATCH

CONF_LABEL = "label"
CONF_TUNING = "tuning"


@dataclass(frozen=True)
class Range:
    """What a field of a rule may be; `whole` ones count windows."""

    low: float
    high: float
    whole: bool = False


FIELDS: Mapping[str, Range] = {
    "on": Range(0.01, 1),
    "off": Range(0, 0.99),
    "k": Range(1, 20, whole=True),
    "n": Range(1, 20, whole=True),
    "hold_s": Range(0.5, 120),
    "cooldown_s": Range(0, 86400),
    "sustain_s": Range(0, 86400),
    "sustain_gap_s": Range(0, 3600),
}
ORDER = (("off", "on"), ("k", "n"))
"""Of each two, the first may not be above the second."""


def labels_selector(labels: tuple[Label, ...]) -> SelectSelector:
    """Return the choice of sounds."""
    return SelectSelector(
        SelectSelectorConfig(
            options=_options(labels), multiple=True, mode=SelectSelectorMode.DROPDOWN
        )
    )


def sections(labels: tuple[Label, ...]) -> dict[vol.Marker, section]:
    """Return the folded sections; nothing in them has to be filled in."""
    profile = vol.Schema(
        {
            vol.Required(CONF_WATCH, default=AS_AT_HOME): _select(WATCH, CONF_WATCH),
            vol.Optional(CONF_LABELS, default=list): labels_selector(labels),
            vol.Required(CONF_SENSITIVITY, default=AS_AT_HOME): _select(
                (AS_AT_HOME, *SENSITIVITIES), CONF_SENSITIVITY
            ),
        }
    )
    tuning = vol.Schema(
        {
            vol.Required(CONF_SENSITIVITY, default="normal"): _select(
                SENSITIVITIES, CONF_SENSITIVITY
            ),
            vol.Optional(CONF_RULES, default=list): _rules(
                tuple(label for label in labels if label.tunable)
            ),
        }
    )
    return {
        vol.Optional(name): section(schema, {"collapsed": True})
        for name, schema in ((NIGHT, profile), (AWAY, profile), (CONF_TUNING, tuning))
    }


def _select(options: tuple[str, ...], translation_key: str) -> SelectSelector:
    """Return the choice of one of a few words."""
    return SelectSelector(
        SelectSelectorConfig(
            options=list(options),
            mode=SelectSelectorMode.DROPDOWN,
            translation_key=translation_key,
        )
    )


def _options(labels: tuple[Label, ...]) -> list[SelectOptionDict]:
    """Return labels to choose from."""
    return [SelectOptionDict(value=label.slug, label=label.name) for label in labels]


def _rules(labels: tuple[Label, ...]) -> ObjectSelector:
    """Return the list of rules, each with its own little form."""
    numbers = {
        name: ObjectSelectorField(
            selector=NumberSelector(
                NumberSelectorConfig(
                    mode=NumberSelectorMode.BOX, step=1 if field.whole else "any"
                )
            )
        )
        for name, field in FIELDS.items()
    }
    label = ObjectSelectorField(
        required=True,
        selector=SelectSelector(
            SelectSelectorConfig(
                options=_options(labels), mode=SelectSelectorMode.DROPDOWN
            )
        ),
    )
    return ObjectSelector(
        ObjectSelectorConfig(
            fields={CONF_LABEL: label} | numbers,
            multiple=True,
            label_field=CONF_LABEL,
            translation_key="rule",
        )
    )


class Mistake(Exception):
    """What is wrong with the folded parts; `names` stand in the error's text."""

    def __init__(self, error: str, **names: str) -> None:
        """Keep which error it is and what it is about."""
        super().__init__(error)
        self.error = error
        self.names = names


def stored(user_input: Mapping[str, Any]) -> dict[str, Any]:
    """Return an input as it is kept: what is as by default is left out.

    Raises Mistake for the first thing that is wrong.
    """
    data = {
        key: value
        for key, value in user_input.items()
        if key not in (NIGHT, AWAY, CONF_TUNING)
    }
    for profile in (NIGHT, AWAY):
        if kept := _profile(profile, user_input.get(profile, {})):
            data[profile] = kept
    tuning = user_input.get(CONF_TUNING, {})
    if (sensitivity := tuning.get(CONF_SENSITIVITY, "normal")) != "normal":
        data[CONF_SENSITIVITY] = sensitivity
    if rules := _read_rules(tuning.get(CONF_RULES, [])):
        data[CONF_RULES] = rules
    return data


def _profile(profile: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what one profile has of its own."""
    kept: dict[str, Any] = {}
    labels = given.get(CONF_LABELS, [])
    if (watch := given.get(CONF_WATCH, AS_AT_HOME)) == CHOSEN:
        if not labels:
            raise Mistake("profile_without_labels", profile=profile)
        kept[CONF_LABELS] = labels
    elif labels:
        raise Mistake("profile_labels_unused", profile=profile)
    if watch != AS_AT_HOME:
        kept[CONF_WATCH] = watch
    if (sensitivity := given.get(CONF_SENSITIVITY, AS_AT_HOME)) != AS_AT_HOME:
        kept[CONF_SENSITIVITY] = sensitivity
    return kept


def _read_rules(given: list[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return rules by label."""
    rules: dict[str, dict[str, float]] = {}
    for each in given:
        label = each[CONF_LABEL]
        if label in rules:
            raise Mistake("rule_repeated", label=label)
        rules[label] = _read_rule(label, each)
    return rules


def _read_rule(label: str, given: Mapping[str, Any]) -> dict[str, float]:
    """Return the fields of one label's rule."""
    rule: dict[str, float] = {}
    for name, field in FIELDS.items():
        if given.get(name) is None:
            continue
        value = float(given[name])
        if field.whole and not value.is_integer():
            raise Mistake("rule_not_whole", label=label, field=name)
        if not field.low <= value <= field.high:
            low, high = f"{field.low:g}", f"{field.high:g}"
            raise Mistake(
                "rule_out_of_range", label=label, field=name, low=low, high=high
            )
        rule[name] = int(value) if field.whole else value
    if not rule:
        raise Mistake("rule_empty", label=label)
    for lower, upper in ORDER:
        if lower in rule and upper in rule and rule[lower] > rule[upper]:
            raise Mistake("rule_order", label=label, field=lower, other=upper)
    return rule


def shown(data: Mapping[str, Any], labels: tuple[Label, ...]) -> dict[str, Any]:
    """Return what is kept as the form shows it, without labels that no longer can be."""
    known = {label.slug for label in labels}
    tunable = {label.slug for label in labels if label.tunable}
    profiles = {
        profile: kept
        | {CONF_LABELS: [each for each in kept.get(CONF_LABELS, []) if each in known]}
        for profile in (NIGHT, AWAY)
        if (kept := data.get(profile, {}))
    }
    rules = [
        {CONF_LABEL: label, **rule}
        for label, rule in data.get(CONF_RULES, {}).items()
        if label in tunable
    ]
    tuning = {
        CONF_SENSITIVITY: data.get(CONF_SENSITIVITY, "normal"),
        CONF_RULES: rules,
    }
    return profiles | {CONF_TUNING: tuning}


def hears_nothing(data: Mapping[str, Any]) -> bool:
    """Tell whether sounds are on but no profile has any, nor a guard its own."""
    return data[CONF_SOUNDS] and not (
        data.get(CONF_GUARD, False)
        or any(
            each.get(CONF_LABELS)
            for each in (data, data.get(NIGHT, {}), data.get(AWAY, {}))
        )
    )
