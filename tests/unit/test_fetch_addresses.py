"""Which addresses, hosts and URLs may be asked at all."""

import asyncio
import ipaddress
import socket

import pytest
from yarl import URL

from pipeline.fetching.resolver import GuardedResolver, PrivateAddress, Redirection, is_public, parse_redirection
from pipeline.fetching.targets import parse_redirect, parse_target


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),  # metadata service of clouds
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("ff0e::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::a00:1", False),  # NAT64 of 10.0.0.1
        ("64:ff9b::808:808", True),
        ("2002:7f00:1::", False),  # 6to4 of 127.0.0.1
        ("2001:0:4136:e378:8000:63bf:80ff:fffe", False),  # Teredo of 127.0.0.1
    ],
)
def test_only_addresses_of_the_public_internet_are_public(address, expected):
    assert is_public(ipaddress.ip_address(address)) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://a.example/b.jpg", "http://a.example/b.jpg"),
        ("HTTPS://A.Example:443/b c.jpg#x", "https://a.example/b%20c.jpg"),
        ("http://a.example:8080/b", "http://a.example:8080/b"),
        ("http://8.8.8.8/b", "http://8.8.8.8/b"),
        ("http://127.0.0.1/b", "private_address"),
        ("http://[::1]/b", "private_address"),
        ("http://[::ffff:10.0.0.1]/b", "private_address"),
        ("http://2130706433/b", "bad_url"),
        ("http://127.1/b", "bad_url"),
        ("http://a.example:22/b", "bad_url"),
        ("http://me:pw@a.example/b", "bad_url"),
        ("file:///etc/passwd", "bad_url"),
        ("data:image/png;base64,AA", "bad_url"),
        ("/b.jpg", "bad_url"),
        ("", "bad_url"),
    ],
)
def test_targets_are_web_urls_of_public_hosts(text, expected):
    assert str(parse_target(text)) == expected


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("c.jpg", "http://a.example/b/c.jpg"),
        ("//c.example/d", "http://c.example/d"),
        ("http://10.0.0.1/", "private_address"),
        ("gopher://c.example/", "bad_redirect"),
        ("", "bad_redirect"),
    ],
)
def test_redirects_are_checked_like_any_target(location, expected):
    assert str(parse_redirect(location, URL("http://a.example/b/x.jpg"))) == expected


@pytest.mark.parametrize(
    "text", ["", "a.example", "a.example=", "=1.2.3.4:80", "a=b:80", "a=1.2.3.4", "a=1.2.3.4:0", "a:x=1.2.3.4:80"]
)
def test_a_redirection_of_another_form_is_an_error_that_names_it(text):
    with pytest.raises(ValueError, match="connect-to must be"):
        parse_redirection(text)


def test_a_redirection_applies_to_its_hosts_and_port_only():
    redirection = parse_redirection("*.Example:443=127.0.0.1:8443")
    assert redirection == Redirection("*.example", 443, "127.0.0.1", 8443)
    assert redirection.applies_to("IMG.example", 443)
    assert not redirection.applies_to("img.example", 80)
    assert not redirection.applies_to("example.org", 443)


def resolve(resolver, host, monkeypatch, addresses):
    found = [(socket.AF_INET6 if ":" in a else socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 80)) for a in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args: found)

    async def run():
        try:
            return [(entry["host"], entry["port"]) for entry in await resolver.resolve(host, 80)]
        finally:
            await resolver.close()

    return asyncio.run(run())


def test_the_resolver_keeps_public_addresses_only(monkeypatch):
    addresses = ["10.0.0.1", "93.184.216.34", "::1"]
    assert resolve(GuardedResolver(), "a.example", monkeypatch, addresses) == [("93.184.216.34", 80)]


def test_a_name_with_private_addresses_only_is_refused(monkeypatch):
    with pytest.raises(PrivateAddress):
        resolve(GuardedResolver(), "a.example", monkeypatch, ["10.0.0.1", "::ffff:127.0.0.1"])
    allowed = resolve(GuardedResolver(allow_private=True), "a.example", monkeypatch, ["10.0.0.1"])
    assert allowed == [("10.0.0.1", 80)]


def test_the_first_redirection_that_applies_decides_and_is_not_guarded(monkeypatch):
    redirections = [parse_redirection("a.*=127.0.0.1:81"), parse_redirection("*.example=127.0.0.1:82")]
    assert resolve(GuardedResolver(redirections), "a.example", monkeypatch, []) == [("127.0.0.1", 81)]
    assert resolve(GuardedResolver(redirections), "b.example", monkeypatch, []) == [("127.0.0.1", 82)]
