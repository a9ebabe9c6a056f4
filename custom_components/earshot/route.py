"""Devices that only an MQTT broker knows: what is sent to one, and what it reports."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from homeassistant.components import mqtt
from homeassistant.config_entries import ConfigSubentry
from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError, TemplateError
from homeassistant.helpers.template import Template
import voluptuous as vol

from .const import (
    CONF_COMMAND_PAYLOAD,
    CONF_COMMAND_TOPIC,
    CONF_LEVEL_MAX,
    CONF_LEVEL_PAYLOAD,
    CONF_LEVEL_TEMPLATE,
    CONF_LEVEL_TOPIC,
    CONF_RETAIN,
    CONF_STATE_TEMPLATE,
    CONF_STATE_TOPIC,
    DOMAIN,
)

QOS: Final = 1
ANSWER_S: Final = 3.0
"""A device that reports its state does so within this time, or did not obey."""

_ON = frozenset({"on", "true", "1", "open", "opened", "opening"})
_OFF = frozenset({"off", "false", "0", "close", "closed", "closing"})


class Route:
    """One device. What it is told and reports goes through its owner's templates.

    `on` and `level` (0 to 1) are what it reported, or without a state topic what it was
    told; None is unknown. Into a template goes nothing that was said, only a command
    of ours and a number.
    """

    def __init__(self, hass: HomeAssistant, subentry: ConfigSubentry) -> None:
        """Read a subentry; nothing is listened to before `async_subscribe`."""
        self._hass = hass
        self._data = subentry.data
        self.subentry_id = subentry.subentry_id
        self.name = subentry.title
        self.entity_id: str | None = None
        """The entity that it became."""
        self.on: bool | None = None
        self.level: float | None = None
        self._wanted: bool | None = None
        self._answered: asyncio.Event | None = None
        self._changed: Callable[[], None] | None = None

    @property
    def reports(self) -> bool:
        """Return whether the device tells its state."""
        return bool(self._data.get(CONF_STATE_TOPIC))

    @property
    def has_level(self) -> bool:
        """Return whether it has a level or a position."""
        return bool(self._data.get(CONF_LEVEL_TOPIC))

    async def async_subscribe(self, changed: Callable[[], None]) -> CALLBACK_TYPE:
        """Listen to what it reports; `changed` is called after each report."""
        self._changed = changed
        if not self.reports:
            return lambda: None
        return await mqtt.async_subscribe(
            self._hass, self._data[CONF_STATE_TOPIC], self._heard, QOS
        )

    async def async_command(self, command: str, on: bool | None) -> None:
        """Send on, off, open, close or stop; `on` is the state it leads to.

        Raises HomeAssistantError.
        """
        self._expect(on)
        await self._async_publish(
            CONF_COMMAND_TOPIC, CONF_COMMAND_PAYLOAD, command, None
        )
        if not self.reports:
            self.on = on if on is not None else self.on
            if self.has_level and on is not None and command in ("open", "close"):
                self.level = float(on)

    async def async_set_level(self, level: float) -> None:
        """Send a level or position of 0 to 1. Raises HomeAssistantError."""
        self._expect(None)
        value = round(level * self._data[CONF_LEVEL_MAX])
        await self._async_publish(CONF_LEVEL_TOPIC, CONF_LEVEL_PAYLOAD, "level", value)
        if not self.reports:
            self.level = level
            self.on = level > 0

    async def async_answered(self) -> bool:
        """Wait for the device to report what it was told; False if it does not.

        True at once where nothing was told or it never reports, False without a broker.
        """
        if not mqtt.is_connected(self._hass):
            return False
        if self._answered is None:
            return True
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._answered.wait()
        except TimeoutError:
            return False
        finally:
            self._answered = None
        return True

    def _expect(self, on: bool | None) -> None:
        self._wanted = on
        self._answered = asyncio.Event() if self.reports else None

    async def _async_publish(
        self, topic: str, payload: str, command: str, value: int | None
    ) -> None:
        variables = {"command": command, "value": value}
        try:
            rendered = self._render(self._data[topic], variables)
            mqtt.util.valid_publish_topic(rendered)
            content = self._render(self._data[payload], variables)
        except (TemplateError, vol.Invalid) as err:
            raise HomeAssistantError(
                translation_domain=DOMAIN,
                translation_key="route_template",
                translation_placeholders={"name": self.name, "error": str(err)},
            ) from err
        await mqtt.async_publish(
            self._hass, rendered, content, QOS, self._data.get(CONF_RETAIN, False)
        )

    def _render(self, template: str, variables: Mapping[str, Any]) -> str:
        rendered = Template(template, self._hass).async_render(
            variables, parse_result=False
        )
        return str(rendered)

    @callback
    def _heard(self, message: mqtt.ReceiveMessage) -> None:
        """Take a report; what the templates make nothing of is none."""
        payload = str(message.payload)
        state = self._read(CONF_STATE_TEMPLATE, payload).casefold()
        level = _number(self._read(CONF_LEVEL_TEMPLATE, payload))
        known = state in _ON or state in _OFF
        if not known and level is None:
            return
        if level is not None:
            self.level = min(1.0, max(0.0, level / self._data[CONF_LEVEL_MAX]))
        self.on = state in _ON if known else bool(self.level)
        if self._answered is not None and self._wanted in (None, self.on):
            self._answered.set()
        if self._changed is not None:
            self._changed()

    def _read(self, template: str, payload: str) -> str:
        if not (text := self._data.get(template)):
            return ""
        rendered = Template(text, self._hass).async_render_with_possible_json_value(
            payload, error_value="", parse_result=False
        )
        return str(rendered).strip()


@callback
def async_all_routes(hass: HomeAssistant) -> Iterator[Route]:
    """Yield the MQTT devices of every server."""
    for entry in hass.config_entries.async_loaded_entries(DOMAIN):
        yield from entry.runtime_data.routes.values()


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
