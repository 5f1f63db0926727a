"""The API's pages for people: all that they are made of comes from the service itself."""

import re
from urllib.parse import urljoin

import httpx
import pytest

from running_service import Service

_LOADED = re.compile(r'(?:src|href)="([^"]+)"')


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_a_page_loads_nothing_from_elsewhere_and_runs_no_script_of_its_own(
    shared_service: Service, path: str
) -> None:
    with httpx.Client(base_url=shared_service.base_url) as anybody:
        page = anybody.get(path)
        assert page.status_code == 200
        assert "//" not in page.text.replace("<!doctype html>", "")
        assert re.findall(r"<script>|<style|\son\w+=", page.text) == []
        policy = page.headers["Content-Security-Policy"]
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        assert (rules["default-src"], rules["script-src"]) == ("'none'", "'self'")
        assert "http" not in policy
        loaded = [one for one in _LOADED.findall(page.text) if not one.startswith("data:")]
        assert len(loaded) == 3
        for one in loaded:
            file = anybody.get(urljoin(path, one))
            assert file.status_code == 200
            assert file.headers["Content-Type"].split(";")[0] in ("text/css", "text/javascript")
            assert "max-age" in file.headers["Cache-Control"]
            assert b"cdn." not in re.sub(rb"/\*.*?\*/", b"", file.content, flags=re.S)


def test_there_are_no_other_files(shared_service: Service) -> None:
    with httpx.Client(base_url=shared_service.base_url) as anybody:
        for name in ("favicon.png", "..%2fcore.py", "nothing"):
            assert anybody.get(f"/docs/assets/{name}").status_code == 404
