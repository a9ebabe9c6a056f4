"""What Home Assistant's and HACS's own checks want of the folder that is installed."""

import ast
import json
from pathlib import Path
import re
import subprocess
from typing import Any

from awesomeversion import AwesomeVersion
from homeassistant.const import CONF_URL
import pytest
import yaml

from custom_components.earshot import profile_form
from custom_components.earshot.binary_sensor import TRANSLATED
from custom_components.earshot.config_flow import ERRORS
from custom_components.earshot.const import PROFILES
from custom_components.earshot.health import EXPLAINED
from custom_components.earshot.profiles import AS_AT_HOME, SENSITIVITIES, WATCH

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "custom_components" / "earshot"
MANIFEST = json.loads((PACKAGE / "manifest.json").read_text())
ENGLISH = json.loads((PACKAGE / "translations" / "en.json").read_text())
ICONS = json.loads((PACKAGE / "icons.json").read_text())
HACS = json.loads((ROOT / "hacs.json").read_text())
CODE = {path: ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}

KNOWN_MANIFEST_KEYS = {
    "after_dependencies", "bluetooth", "codeowners", "config_flow", "dependencies",
    "dhcp", "disabled", "documentation", "domain", "homeassistant", "homekit",
    "import_executor", "integration_type", "iot_class", "issue_tracker", "loggers",
    "mqtt", "name", "quality_scale", "requirements", "single_config_entry", "ssdp",
    "usb", "version", "zeroconf",
}  # fmt: skip
IOT_CLASSES = {
    "assumed_state", "calculated", "cloud_polling", "cloud_push", "local_polling",
    "local_push",
}  # fmt: skip
HACS_KEYS = {
    "name", "content_in_root", "country", "filename", "hacs", "hide_default_branch",
    "homeassistant", "persistent_directory", "render_readme", "zip_release",
}  # fmt: skip


def texts(tree: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], str]]:
    """Return every text of a JSON tree with its path."""
    if isinstance(tree, str):
        return [(path, tree)]
    return [found for key in tree for found in texts(tree[key], (*path, key))]


def strings_in(*modules: str) -> set[str]:
    """Return the text constants of some modules."""
    return {
        node.value
        for module in modules
        for node in ast.walk(CODE[PACKAGE / module])
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_the_manifest_is_in_order() -> None:
    keys = list(MANIFEST)
    assert keys == ["domain", "name", *sorted(keys[2:])]
    assert set(keys) <= KNOWN_MANIFEST_KEYS
    assert MANIFEST["domain"] == PACKAGE.name
    assert MANIFEST["iot_class"] in IOT_CLASSES
    assert MANIFEST["integration_type"] == "service"
    assert AwesomeVersion(MANIFEST["version"]).strategy == "SemVer"
    assert MANIFEST["config_flow"] is True
    assert (PACKAGE / "config_flow.py").exists()
    assert MANIFEST["requirements"] == []
    assert all(owner.startswith("@") for owner in MANIFEST["codeowners"])
    for key in ("documentation", "issue_tracker"):
        assert MANIFEST[key].startswith("https://github.com/earshot-home/earshot")
    assert all(kind.endswith("._tcp.local.") for kind in MANIFEST["zeroconf"])
    assert "homeassistant" not in MANIFEST


def test_every_integration_that_is_used_is_a_dependency() -> None:
    """A component is imported only if the manifest has it loaded first."""
    used = set()
    for tree in CODE.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                parts = node.module.split(".")
                if parts[:2] == ["homeassistant", "components"]:
                    names = [alias.name for alias in node.names]
                    used |= {parts[2]} if len(parts) > 2 else set(names)
    # Entity platforms and what is always there need not be named.
    used -= {
        "alarm_control_panel", "binary_sensor", "cover", "diagnostics", "event",
        "homeassistant", "light", "media_player", "media_source", "number", "select",
        "sensor", "stt", "switch", "wake_word",
    }  # fmt: skip
    # Reached as `hass.http`.
    used |= {"http"}
    assert used == {*MANIFEST["dependencies"], *MANIFEST["after_dependencies"]}


def test_the_version_is_the_same_everywhere() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    found = re.search(r'^version = "([^"]+)"', project, re.MULTILINE)
    assert found is not None
    assert MANIFEST["version"] == found[1]


def test_every_json_file_parses_and_is_tidy() -> None:
    files = [*PACKAGE.rglob("*.json"), ROOT / "hacs.json"]
    assert len(files) >= 4
    for path in files:
        content = json.loads(path.read_text())
        assert (
            path.read_text()
            == (json.dumps(content, indent=2, ensure_ascii=False) + "\n")
            or path.name == "manifest.json"
        )


def test_there_is_no_strings_json() -> None:
    """Custom integrations are translated from translations/ alone."""
    assert not (PACKAGE / "strings.json").exists()


def test_the_texts_are_plain() -> None:
    for path, text in texts(ENGLISH):
        where = ".".join(path)
        assert text == text.strip(), where
        assert text, where
        assert not re.search(r"<[a-z/]", text), where
        assert not re.search(r"'\{\w+\}'", text), where
        assert "[%key" not in text, where
        assert "http" not in re.sub(r"\brtsp, http, https\b", "", text), where
        for key in path:
            assert re.fullmatch(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?", key), where


def test_descriptions_belong_to_fields() -> None:
    flows = [
        ENGLISH["config"],
        ENGLISH["options"],
        *ENGLISH["config_subentries"].values(),
    ]
    steps = [step for flow in flows for step in flow["step"].values()]
    forms = [step for step in steps if "data" in step]
    assert len(forms) >= 8
    for step in forms:
        assert set(step["data_description"]) == set(step["data"])


def test_the_flows_texts_are_all_there_and_all_used() -> None:
    config = ENGLISH["config"]
    assert set(config["step"]) == {
        "user",
        "zeroconf_confirm",
        "reauth_confirm",
        "reconfigure",
    }
    assert set(config["error"]) == {key for _, key in ERRORS} | {"invalid_host"}
    microphone = ENGLISH["config_subentries"]["microphone"]
    used = strings_in(
        "config_flow.py", "microphone_flow.py", "profile_form.py", "const.py"
    )
    used |= {CONF_URL}
    for flow in (config, microphone, ENGLISH["options"]):
        for section in ("step", "error"):
            assert set(flow[section]) <= used
    # These two are given by Home Assistant itself.
    by_core = {"already_configured", "already_in_progress", "reauth_successful",
               "reconfigure_successful"}  # fmt: skip
    for flow in (config, microphone):
        assert set(flow["abort"]) - by_core <= used
    assert {"another_server", "not_earshot"} <= set(config["abort"])
    assert "entry_not_loaded" in microphone["abort"]
    assert set(microphone["step"]["user"]["menu_options"]) == {"camera", "url"}
    assert set(microphone["error"]) == {
        "name_missing",
        "no_labels",
        "nothing_to_hear",
        "profile_labels_unused",
        "profile_without_labels",
        "rule_empty",
        "rule_not_whole",
        "rule_order",
        "rule_out_of_range",
        "rule_repeated",
        "unsupported_url",
    }


def test_the_folded_sections_texts_are_all_there() -> None:
    form = {
        str(key): {str(field) for field in value.schema.schema}
        for key, value in profile_form.sections(()).items()
    }
    steps = ENGLISH["config_subentries"]["microphone"]["step"]
    for step in ("camera", "url", "reconfigure"):
        texts_of = steps[step]["sections"]
        assert set(texts_of) == set(form)
        for name, fields in form.items():
            assert set(texts_of[name]["data"]) == fields
            assert set(texts_of[name]["data_description"]) == fields
    selectors = ENGLISH["selector"]
    assert set(selectors["watch"]["options"]) == set(WATCH)
    assert set(selectors["sensitivity"]["options"]) == {*SENSITIVITIES, AS_AT_HOME}
    assert set(selectors["rule"]["fields"]) == {"label", *profile_form.FIELDS}


def test_exceptions_and_issues_are_all_there_and_all_used() -> None:
    exceptions = {
        node.value.value
        for module in ("coordinator.py", "media_source.py", "route.py")
        for node in ast.walk(CODE[PACKAGE / module])
        if isinstance(node, ast.keyword)
        and node.arg == "translation_key"
        and isinstance(node.value, ast.Constant)
    }
    assert set(ENGLISH["exceptions"]) == exceptions
    explained = {f"microphone_{problem}" for problem in EXPLAINED}
    assert set(ENGLISH["issues"]) == {"mqtt_missing"} | explained
    assert "mqtt_missing" in strings_in("const.py")


def test_entities_have_names_and_icons() -> None:
    entity = ENGLISH["entity"]
    assert set(entity["binary_sensor"]) == TRANSLATED
    types = entity["event"]["sound"]["state_attributes"]["event_type"]["state"]
    assert types == {
        label: text["name"] for label, text in entity["binary_sensor"].items()
    }
    sustained = entity["event"]["sustained_sound"]["state_attributes"]
    assert sustained["event_type"]["state"] == types
    assert set(entity["select"]["profile"]["state"]) == set(PROFILES)
    gestures = entity["event"]["gesture"]["state_attributes"]["event_type"]["state"]
    assert not set(gestures) & TRANSLATED
    wakes = entity["event"]["wake"]["state_attributes"]["event_type"]["state"]
    words = {"alexa", "hey_jarvis", "hey_mycroft", "okay_nabu"}
    assert wakes.keys() == words | gestures.keys()
    keys = {
        (path.stem, node.value.value)
        for path, tree in CODE.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "_attr_translation_key"
        and isinstance(node.value, ast.Constant)
    }
    assert keys == {
        ("event", "clip"),
        ("event", "sound"),
        ("event", "timer"),
        ("event", "gesture"),
        ("event", "sustained_sound"),
        ("event", "wake"),
        ("number", "wake_threshold"),
        ("select", "profile"),
        ("sensor", "guard"),
        ("sensor", "level"),
        ("stt", "speech"),
        ("switch", "guard"),
        ("switch", "listening"),
        ("wake_word", "wake_words"),
    }
    translated = {(domain, key) for domain in entity for key in entity[domain]}
    assert translated == keys | {("binary_sensor", label) for label in TRANSLATED}
    assert {
        (domain, key) for domain in ICONS["entity"] for key in ICONS["entity"][domain]
    } == translated


def test_every_label_of_the_catalogue_has_a_name() -> None:
    catalogue = yaml.safe_load((ROOT / "model_server" / "sounds.yaml").read_text())
    gestures = {slug for slug in catalogue if catalogue[slug]["group"] == "gestures"}
    states = ENGLISH["entity"]["event"]["gesture"]["state_attributes"]
    assert set(states["event_type"]["state"]) == gestures
    assert set(catalogue) - gestures == TRANSLATED


def test_every_icon_exists() -> None:
    frontend = pytest.importorskip("hass_frontend")
    folder = Path(frontend.where()) / "static" / "mdi"
    known: set[str] = set()
    for path in folder.glob("*.json"):
        content = json.loads(path.read_text())
        if isinstance(content, dict):
            known |= set(content)
    assert len(known) > 5000
    icons = {text for _, text in texts(ICONS)}
    assert all(icon.startswith("mdi:") for icon in icons)
    assert {icon.removeprefix("mdi:") for icon in icons} <= known


def test_nothing_registers_actions() -> None:
    """There is no services.yaml, so there must be no service."""
    assert not (PACKAGE / "services.yaml").exists()
    for path in CODE:
        assert "services.async_register" not in path.read_text()


def test_the_brand_is_drawn() -> None:
    for name, size in (("icon.png", 256), ("icon@2x.png", 512)):
        header = (PACKAGE / "brand" / name).read_bytes()[:24]
        assert header[:8] == b"\x89PNG\r\n\x1a\n"
        assert int.from_bytes(header[16:20]) == size
        assert int.from_bytes(header[20:24]) == size
    assert (ROOT / "docs" / "images" / "icon.svg").exists()


def test_hacs_can_install_it() -> None:
    assert set(HACS) <= HACS_KEYS
    assert HACS["name"] == MANIFEST["name"]
    assert AwesomeVersion(HACS["homeassistant"]) >= AwesomeVersion("2026.8.0")
    assert [
        path.parent.name
        for path in (ROOT / "custom_components").glob("*/manifest.json")
    ] == [MANIFEST["domain"]]
    assert (ROOT / "LICENSE").read_text().lstrip().startswith("Apache License")
    assert (ROOT / "README.md").exists()
    for key in ("codeowners", "documentation", "issue_tracker", "name", "version"):
        assert MANIFEST[key]


def test_everything_the_folder_needs_is_committed() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard", PACKAGE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert listed.stdout == ""


def test_the_quality_scale_is_complete_and_says_why() -> None:
    rules = yaml.safe_load((PACKAGE / "quality_scale.yaml").read_text())["rules"]
    assert len(rules) == 54
    for name, status in rules.items():
        if isinstance(status, dict):
            assert status["status"] in ("done", "exempt", "todo"), name
            assert status["comment"], name
        else:
            assert status == "done", name


def test_the_client_and_the_sources_know_nothing_of_entities() -> None:
    for path, tree in CODE.items():
        folder = path.relative_to(PACKAGE).parts[0]
        if folder not in ("client", "sources"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                assert node.level <= 1, path
                assert not (node.module or "").startswith("homeassistant"), path
            elif isinstance(node, ast.Import):
                assert not any(a.name.startswith("homeassistant") for a in node.names)


def test_files_stay_small() -> None:
    for path in CODE:
        assert len(path.read_text().splitlines()) <= 330, path
