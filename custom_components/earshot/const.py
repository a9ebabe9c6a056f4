"""Constants of the Earshot integration."""

from typing import Final

DOMAIN: Final = "earshot"
MANUFACTURER: Final = "Earshot"

SUBENTRY_MICROPHONE: Final = "microphone"
SUBENTRY_ROUTE: Final = "mqtt_device"

CONF_ALARM_PANEL: Final = "alarm_panel"
CONF_ALIASES: Final = "aliases"
CONF_AREA: Final = "area"
CONF_BASE_TOPIC: Final = "base_topic"
CONF_CAMERA: Final = "camera"
CONF_CLIPS: Final = "clips"
CONF_COMMAND_PAYLOAD: Final = "command_payload"
CONF_COMMAND_TOPIC: Final = "command_topic"
CONF_COMMANDS: Final = "commands"
CONF_CODE_WORDS: Final = "code_words"
CONF_DEVICE_TOPIC: Final = "device_topic"
CONF_GUARD: Final = "guard"
CONF_KIND: Final = "kind"
CONF_LABELS: Final = "labels"
CONF_LEVEL_MAX: Final = "level_max"
CONF_LEVEL_PAYLOAD: Final = "level_payload"
CONF_LEVEL_TEMPLATE: Final = "level_template"
CONF_LEVEL_TOPIC: Final = "level_topic"
CONF_MEDIA: Final = "media"
CONF_PLACE: Final = "place"
CONF_PLAYERS: Final = "players"
CONF_PRESET: Final = "preset"
CONF_PUBLISH_LEVEL: Final = "publish_level"
CONF_PUBLISH_PARTIALS: Final = "publish_partials"
CONF_RETAIN: Final = "retain"
CONF_RULES: Final = "rules"
CONF_SENSITIVITY: Final = "sensitivity"
CONF_SLUG: Final = "slug"
CONF_SOUNDS: Final = "sounds"
CONF_SPEAK: Final = "speak"
CONF_STATE_TEMPLATE: Final = "state_template"
CONF_STATE_TOPIC: Final = "state_topic"
CONF_TTS: Final = "tts"
CONF_UNASKED: Final = "unasked"
CONF_WAKE: Final = "wake"
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
