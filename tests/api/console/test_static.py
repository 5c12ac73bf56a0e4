"""The files of the console: those of others as they came, and all of them from here."""

import hashlib
import json
import re
from importlib import resources

from api.auth import CONSOLE
from api.console import static

VENDORED = {
    "vendor/echarts.common.min.js": "echarts 6.1.0",
    "vendor/htmx.min.js": "htmx.org 2.0.11",
}
SHA256 = {
    "vendor/echarts.common.min.js": "61f13280aba3161f77fc801bf5f9c786f55f10432153a0683fc5cc070"
    "0b013d5",
    "vendor/htmx.min.js": "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717",
}
"""Of the files as npm has them."""


def test_the_vendored_files_are_as_they_came() -> None:
    scripts = {
        name for name in static.names() if name.startswith("vendor/") and name.endswith(".js")
    }
    assert scripts == set(SHA256)
    found = {name: hashlib.sha256(static.file(name).content).hexdigest() for name in SHA256}
    assert found == SHA256
    said = resources.files("api").joinpath("console", "static", "README.md").read_text()
    for what in VENDORED.values():
        assert what in said


def test_each_vendored_file_has_its_licence() -> None:
    for name in VENDORED:
        assert f"{name.partition('.')[0]}.LICENSE" in static.names()


def test_no_file_of_ours_asks_anybody_else() -> None:
    for name in static.names():
        if name.startswith("vendor/"):
            continue
        text = static.file(name).content.decode(errors="replace")
        found = re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", text)
        assert not [address for address in found if "www.w3.org" not in address], name


def test_every_icon_that_a_template_names_is_there() -> None:
    there = set(re.findall(r'id="([^"]+)"', static.file("icons.svg").content.decode()))
    templates = resources.files("api").joinpath("console", "templates")
    for template in templates.iterdir():
        named = set(re.findall(r"icon\('([a-z0-9-]+)'", template.read_text()))
        assert named <= there, template.name


def test_every_form_says_how_it_is_sent() -> None:
    # A form that a script sends is "dialog": pressed before the script is there, a form of none
    # puts what was typed, a password too, into an address.
    templates = resources.files("api").joinpath("console", "templates")
    for template in templates.iterdir():
        for tag in re.findall(r"<form\b[^<]*", template.read_text()):
            how = "dialog" if "data-command" in tag or "data-sign-in" in tag else "get|dialog"
            assert re.search(f'method="({how})"', tag), f"{template.name}: {tag}"


def test_a_phone_may_keep_the_console_among_its_apps() -> None:
    manifest = json.loads(static.file("wangge.webmanifest").content)
    assert manifest["start_url"] == f"{CONSOLE}/report"  # the one page that opens without a network
    assert {icon["src"] for icon in manifest["icons"]} <= static.names()
