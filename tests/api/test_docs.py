"""The documentation page, which must work where there is no internet."""

import hashlib
import re
from dataclasses import replace
from importlib import resources

from api.app import create_app
from api.docs import FILES
from api.services import DemoAccount, Services
from tests.api.conftest import Served, description

SHA256 = {
    "LICENSE": "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30",
    "NOTICE": "0d20d1adef18aee3f40dd258172155521ce702ac445cb5f7b7d60ed32dad2fb2",
    "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
    "swagger-ui-bundle.js.LICENSE.txt": "37eb6e7e59aed57b2c1acf076574b818ea07b74265717e0bd67b59e"
    "0baf9abbb",
    "swagger-ui.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
}
"""Of the files of swagger-ui-dist 5.35.0, as npm has them."""


def test_the_vendored_files_are_as_they_came() -> None:
    folder = resources.files("api") / "static" / "swagger-ui"
    found = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    assert found == SHA256


def test_the_page_and_its_files_are_served_to_everybody(served: Served) -> None:
    for path, (_, media_type) in FILES.items():
        response = served.client.get(path)
        assert response.status_code == 200
        assert response.headers["Content-Type"] == media_type
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "script-src" not in policy  # none but our own files


def test_the_page_asks_nobody_else(served: Served) -> None:
    for path in ("/docs", "/docs/docs.js", "/docs/docs.css"):
        text = served.client.get(path).text
        assert not re.search(r"(https?:)?//[a-z]", text.replace("// The token", "")), path
    wanted = re.findall(r'(?:src|href)="(docs/[^"]+)"', served.client.get("/docs").text)
    assert len(wanted) == 4
    for path in wanted:
        assert served.client.get(f"/{path}").status_code == 200


def test_answers_of_the_api_are_not_kept(served: Served) -> None:
    response = served.client.get("/api/v1/health/live")
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert response.headers["X-Frame-Options"] == "DENY"


def test_demo_accounts_are_shown_where_there_are_some() -> None:
    services: Services = description().state.services
    account = DemoAccount("li", "demo", "网格员", "Grid worker")
    shown = create_app(replace(services, demo=(account,))).description
    assert "| `li` | `demo` | 网格员 Grid worker |" in shown
    assert "demo" not in description().description.lower()
