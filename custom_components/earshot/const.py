"""Constants of the Earshot integration."""

from typing import Final

DOMAIN: Final = "earshot"
MANUFACTURER: Final = "Earshot"

SUBENTRY_MICROPHONE: Final = "microphone"

CONF_ALARM_PANEL: Final = "alarm_panel"
CONF_AREA: Final = "area"
CONF_BASE_TOPIC: Final = "base_topic"
CONF_CAMERA: Final = "camera"
CONF_CLIPS: Final = "clips"
CONF_COMMANDS: Final = "commands"
CONF_GUARD: Final = "guard"
CONF_LABELS: Final = "labels"
CONF_PLACE: Final = "place"
CONF_PLAYERS: Final = "players"
CONF_PUBLISH_LEVEL: Final = "publish_level"
CONF_RULES: Final = "rules"
CONF_SENSITIVITY: Final = "sensitivity"
CONF_SLUG: Final = "slug"
CONF_SOUNDS: Final = "sounds"
CONF_SPEAK: Final = "speak"
CONF_TTS: Final = "tts"
CONF_UNASKED: Final = "unasked"
CONF_WATCH: Final = "watch"

INDOOR: Final = "indoor"
OUTDOOR: Final = "outdoor"
PLACES: Final = (INDOOR, OUTDOOR)
"""Where a microphone is; outdoors, anybody may speak to it."""

HOME: Final = "home"
NIGHT: Final = "night"
AWAY: Final = "away"
PROFILES: Final = (HOME, NIGHT, AWAY)

DEFAULT_BASE_TOPIC: Final = "earshot"
DEFAULT_PORT: Final = 10380
DEFAULT_UNASKED: Final = 5
"""So many entities change without a confirmation."""

ASSISTANT: Final = "conversation"
"""The assistant whose exposed entities may be named and acted on."""

ISSUE_MQTT_MISSING: Final = "mqtt_missing"
