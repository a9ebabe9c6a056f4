"""The topics and templates of devices that follow a convention."""

from typing import Any, Final

from .const import (
    CONF_COMMAND_PAYLOAD,
    CONF_COMMAND_TOPIC,
    CONF_LEVEL_MAX,
    CONF_LEVEL_PAYLOAD,
    CONF_LEVEL_TEMPLATE,
    CONF_LEVEL_TOPIC,
    CONF_STATE_TEMPLATE,
    CONF_STATE_TOPIC,
)

TASMOTA: Final = "tasmota"
ZIGBEE2MQTT: Final = "zigbee2mqtt"
OWN: Final = "own"
PRESETS: Final = (TASMOTA, ZIGBEE2MQTT, OWN)

SWITCH: Final = "switch"
LIGHT: Final = "light"
COVER: Final = "cover"
KINDS: Final = (SWITCH, LIGHT, COVER)

COVERS: Final = (
    *("awning", "blind", "curtain", "door", "garage", "gate", "shade", "shutter"),
    "window",
)
"""Home Assistant's classes of covers. A door, a garage or a gate needs a yes to move."""

_UPPER: Final = "{{ command | upper }}"
_VALUE: Final = "{{ value }}"


def preset(name: str, kind: str, device: str) -> dict[str, Any]:
    """Return the settings of a device, by its convention's name and its own topic.

    Tasmota's commands: https://tasmota.github.io/docs/Commands. Zigbee2MQTT's:
    https://www.zigbee2mqtt.io/guide/usage/mqtt_topics_and_messages.html.
    """
    if name == TASMOTA:
        return _tasmota(kind, device)
    if name == ZIGBEE2MQTT:
        return _zigbee2mqtt(kind, device)
    settings: dict[str, Any] = {
        CONF_COMMAND_TOPIC: f"{device}/set",
        CONF_COMMAND_PAYLOAD: _UPPER,
        CONF_STATE_TOPIC: f"{device}/state",
        CONF_STATE_TEMPLATE: _VALUE,
    }
    return settings | {CONF_LEVEL_MAX: 100, CONF_LEVEL_PAYLOAD: _VALUE}


def _tasmota(kind: str, device: str) -> dict[str, Any]:
    settings: dict[str, Any] = {
        CONF_COMMAND_TOPIC: f"cmnd/{device}/POWER",
        CONF_COMMAND_PAYLOAD: _UPPER,
        CONF_STATE_TOPIC: f"stat/{device}/RESULT",
        CONF_STATE_TEMPLATE: "{{ value_json.POWER | default('') }}",
        CONF_LEVEL_MAX: 100,
        CONF_LEVEL_PAYLOAD: _VALUE,
    }
    if kind == LIGHT:
        settings |= {
            CONF_LEVEL_TOPIC: f"cmnd/{device}/Dimmer",
            CONF_LEVEL_TEMPLATE: "{{ value_json.Dimmer | default('') }}",
        }
    elif kind == COVER:
        settings |= {
            # ShutterOpen1, ShutterClose1, ShutterStop1: without a payload.
            CONF_COMMAND_TOPIC: f"cmnd/{device}/Shutter{{{{ command | capitalize }}}}1",
            CONF_COMMAND_PAYLOAD: "",
            CONF_STATE_TEMPLATE: "",
            CONF_LEVEL_TOPIC: f"cmnd/{device}/ShutterPosition1",
            CONF_LEVEL_TEMPLATE: (
                "{{ (value_json.Shutter1 | default({})).Position | default('') }}"
            ),
        }
    return settings


def _zigbee2mqtt(kind: str, device: str) -> dict[str, Any]:
    topic = f"zigbee2mqtt/{device}"
    settings: dict[str, Any] = {
        CONF_COMMAND_TOPIC: f"{topic}/set",
        CONF_COMMAND_PAYLOAD: '{"state": "{{ command | upper }}"}',
        CONF_STATE_TOPIC: topic,
        CONF_STATE_TEMPLATE: "{{ value_json.state | default('') }}",
        CONF_LEVEL_MAX: 254 if kind == LIGHT else 100,
        CONF_LEVEL_PAYLOAD: _VALUE,
    }
    if kind != SWITCH:
        level = "brightness" if kind == LIGHT else "position"
        settings |= {
            CONF_LEVEL_TOPIC: f"{topic}/set",
            CONF_LEVEL_PAYLOAD: f'{{"{level}": {{{{ value }}}}}}',
            CONF_LEVEL_TEMPLATE: f"{{{{ value_json.{level} | default('') }}}}",
        }
    return settings
