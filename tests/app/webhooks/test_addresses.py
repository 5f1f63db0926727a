"""Where nothing is delivered to."""

import pytest

from app.webhooks.addresses import AddressRefused, checked, pinned, resolve


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://hooks.example.org/", "https"),
        ("ftp://hooks.example.org/", "https"),
        ("hooks.example.org", "https"),
        ("https:///path", "name a host"),
        ("https://user:word@hooks.example.org/", "user name"),
        ("https://hooks.example.org/#part", "fragment"),
        ("https://hooks.example.org:0/", "port 0"),
        ("https://hooks.example.org:99999/", "URL"),
        ("https://[::1/", "URL"),
        ("https://hooks.example.org/a b", "encoded"),
        ("https://hooks.example.org/\r\nHost: x", "URL"),
        ("https://10.0.0.1/", "public"),
        ("https://192.168.1.1/", "public"),
        ("https://172.16.0.1/", "public"),
        ("https://127.0.0.1/", "public"),
        ("https://169.254.169.254/latest/meta-data", "public"),
        ("https://100.100.100.200/", "public"),
        ("https://0.0.0.0/", "public"),
        ("https://224.0.0.1/", "public"),
        ("https://240.0.0.1/", "public"),
        ("https://[::1]/", "public"),
        ("https://[::]/", "public"),
        ("https://[fe80::1]/", "public"),
        ("https://[fec0::1]/", "public"),
        ("https://[fd00:ec2::254]/", "public"),
        ("https://[::ffff:10.0.0.1]/", "public"),
        ("https://[64:ff9b::a9fe:a9fe]/", "public"),
        ("https://[2002:7f00:1::]/", "public"),
    ],
)
def test_a_url_that_is_not_public_https_is_refused(url: str, why: str) -> None:
    with pytest.raises(AddressRefused, match=why):
        checked(url, allow_loopback=False)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.org/a?b=c",
        "https://hooks.example.org:8443",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]/",
    ],
)
def test_a_public_url_is_fine(url: str) -> None:
    assert checked(url, allow_loopback=False).scheme == "https"


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "2130706433", "0x7f.1", "::1"])
def test_a_name_that_leads_inside_is_refused_however_it_is_written(name: str) -> None:
    with pytest.raises(AddressRefused, match="public"):
        resolve(name, 443, allow_loopback=False)


def test_loopback_is_for_who_allows_it_and_nothing_else_inside_is() -> None:
    assert checked("http://localhost:1/", allow_loopback=True).port == 1
    assert checked("http://127.0.0.1:1/", allow_loopback=True).port == 1
    assert resolve("127.0.0.1", 1, allow_loopback=True) == "127.0.0.1"
    for url in ("http://10.0.0.1/", "https://10.0.0.1/", "http://hooks.example.org/"):
        with pytest.raises(AddressRefused):
            checked(url, allow_loopback=True)


@pytest.mark.parametrize("host", ["10.1.2.3", "172.16.0.1", "192.168.1.1", "[fd12:3456::1]"])
def test_a_named_host_may_be_in_a_private_network_and_others_there_may_not(host: str) -> None:
    url = f"https://{host}/realms/main"
    named = {host.strip("[]")}
    target = pinned(url, allow_loopback=False, private_hosts=named)
    assert target.url.host == host.strip("[]")
    for others in ((), {"10.9.9.9"}):
        with pytest.raises(AddressRefused, match="public"):
            pinned(url, allow_loopback=False, private_hosts=others)
    with pytest.raises(AddressRefused, match="https"):
        checked(url.replace("https", "http"), allow_loopback=False, private_hosts=named)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "169.254.169.254", "100.100.100.200", "0.0.0.0", "fd00:ec2::254", "::1"]
)
def test_a_named_host_leads_to_no_loopback_and_to_no_metadata(host: str) -> None:
    with pytest.raises(AddressRefused, match="public"):
        resolve(host, 443, allow_loopback=False, allow_private=True)
