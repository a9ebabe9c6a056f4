"""Home Assistant's own words about what was done, for an intent without a sentence."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from home_assistant_intents import get_intents
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import TemplateError
from homeassistant.helpers import intent, template


async def async_speech(
    hass: HomeAssistant,
    name: str,
    slots: Mapping[str, Any],
    response: intent.IntentResponse,
) -> str:
    """Return a response in the words of a language; empty where it has none."""
    templates = (await hass.async_add_executor_job(_templates, response.language)).get(
        name, {}
    )
    states = [*response.matched_states, *response.unmatched_states]
    text = _pick(templates, slots, states[0].domain if states else "")
    if not text:
        return ""
    try:
        speech = template.Template(text, hass).async_render(
            {
                "slots": {slot: str(value) for slot, value in slots.items()}
                | response.speech_slots,
                "state": template.TemplateState(hass, states[0]) if states else None,
                "query": {
                    "matched": _template_states(hass, response.matched_states),
                    "unmatched": _template_states(hass, response.unmatched_states),
                },
            }
        )
    except TemplateError:
        # The deed is done: that no words were found for it is no failure of it.
        return ""
    return " ".join(str(speech).split())


@lru_cache(maxsize=4)
def _templates(language: str) -> dict[str, dict[str, str]]:
    """Read the responses of a language: by intent and kind of response."""
    data: dict[str, Any] = get_intents(language) or {}
    responses: dict[str, dict[str, str]] = data.get("responses", {}).get("intents", {})
    return responses


def _pick(templates: Mapping[str, str], slots: Mapping[str, Any], domain: str) -> str:
    """Return the template that says most about these slots, if there is any.

    A sentence names its response; without one, the slots tell which it would be.
    """
    kinds = [f"{domain}s_{place}" for place in ("area", "floor") if place in slots]
    if "name" not in slots:
        kinds += ["cover_device_class"] if "device_class" in slots else []
        kinds += ["which"]
    else:
        kinds += ["one_yesno" if "state" in slots else "one"]
    kinds += [domain, *slots, "default", *templates]
    return next((templates[kind] for kind in kinds if kind in templates), "")


def _template_states(hass: HomeAssistant, states: list[Any]) -> list[Any]:
    """Return states as templates see them."""
    return [template.TemplateState(hass, state) for state in states]
