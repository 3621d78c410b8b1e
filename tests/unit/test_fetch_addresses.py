"""Which addresses, hosts and URLs may be asked at all."""

import asyncio
import ipaddress
from types import SimpleNamespace

import aiodns
import pycares
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from pipeline.base.drops import DropReason
from pipeline.fetching.addresses import NOT_PUBLIC_4, NOT_PUBLIC_6, PUBLIC_6, is_public
from pipeline.fetching.resolver import GuardedResolver, NoSuchName, PrivateAddress, Redirection, parse_redirection
from pipeline.fetching.targets import parse_redirect, parse_target

PUBLIC = [
    "1.1.1.1",
    "93.184.216.34",
    "100.63.255.255",
    "172.32.0.1",
    "192.0.1.0",
    "192.88.98.255",
    "198.20.0.0",
    "223.255.255.255",
    "168.63.129.17",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2606:2800:220:1::1",
    "2a00:1450:4001:800::1",
    "3ffe::1",
]
PRIVATE = [
    *("0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.255.255.255", "172.16.0.1", "172.31.255.255"),
    *("192.0.0.9", "192.0.2.1", "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.168.1.1", "192.175.48.1"),
    *("198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
    *("169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "168.63.129.16"),  # metadata of clouds
    *("fd00:ec2::254", "fd20:ce::254", "161.26.0.10", "166.9.8.7", "199.36.153.8"),
    *("::", "::1", "::7f00:1", "::808:808", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1"),
    *("64:ff9b::a00:1", "64:ff9b::808:808", "64:ff9b:1::a00:1", "100::1", "100:0:0:1::1"),
    *("2001::1", "2001:0:4136:e378:8000:63bf:80ff:fffe", "2001:1::1", "2001:2::1", "2001:10::1", "2001:20::1"),
    *("2001:1ff::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "2620:4f:8000::1", "3fff::1", "3fff:fff::1"),
    *("1fff::1", "4000::1", "5f00::1", "fc00::1", "fd00::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff0e::1"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_public_internet_are_public(address):
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PRIVATE)
def test_no_other_address_is_public(address):
    assert not is_public(ipaddress.ip_address(address))


def edges(networks):
    """The first and last address of every network and those beside it."""
    found = {
        int(ipaddress.ip_network(text)[place]) + step for text in networks for place in (0, -1) for step in (-1, 0, 1)
    }
    return sorted(number for number in found if number >= 0)


@given(st.integers(0, 2**32 - 1) | st.sampled_from([n for n in edges(NOT_PUBLIC_4) if n < 2**32]))
def test_an_ipv4_address_is_public_where_no_block_of_the_table_holds_it(number):
    address = ipaddress.IPv4Address(number)
    assert is_public(address) is not any(address in ipaddress.ip_network(text) for text in NOT_PUBLIC_4)


@given(
    st.integers(0, 2**128 - 1)
    | st.integers(2**125, 2**126 - 1)
    | st.integers(0x2001 << 112, (0x2003 << 112) - 1)
    | st.sampled_from(edges((PUBLIC_6, *NOT_PUBLIC_6)))
)
def test_an_ipv6_address_is_public_in_the_one_block_and_in_none_of_the_others(number):
    address = ipaddress.IPv6Address(number)
    held = any(address in ipaddress.ip_network(text) for text in NOT_PUBLIC_6)
    assert is_public(address) is (address in ipaddress.ip_network(PUBLIC_6) and not held)


@given(st.integers(0, 2**32 - 1) | st.integers(2**125, 2**126 - 1))
def test_what_python_calls_private_is_never_public(number):
    address = ipaddress.ip_address(number)
    assert not is_public(address) or (address.is_global and not address.is_multicast)


LABEL = "a" * 63


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://a.example/b.jpg", "http://a.example/b.jpg"),
        ("HTTPS://A.Example:443/b c.jpg#x", "https://a.example/b%20c.jpg"),
        ("http://a.example:443/b", "http://a.example:443/b"),
        ("https://a.example:80/b", "https://a.example:80/b"),
        ("http://8.8.8.8/b", "http://8.8.8.8/b"),
        ("http://[2606:2800:220:1::1]/b", "http://[2606:2800:220:1::1]/b"),
        (f"http://{LABEL}.example/b", f"http://{LABEL}.example/b"),
        ("http://a_b.example/", "http://a_b.example/"),
        ("http://a.example./b", "http://a.example./b"),
        ("http://0x7f.example/", "http://0x7f.example/"),
        ("http://127.0.0.1/b", "private_address"),
        ("http://127.0.0.1:8080/b", "private_address"),
        ("http://\uff11\uff12\uff17.0.0.1/b", "private_address"),  # full-width digits
        ("http://127\u30020\u30020\u30021/b", "private_address"),  # ideographic full stops
        ("http://\u24ea.0.0.0/b", "private_address"),  # a zero in a circle
        ("http://[::1]/b", "private_address"),
        ("http://[::ffff:10.0.0.1]/b", "private_address"),
        ("http://[::ffff:127.0.0.1]/b", "private_address"),
        ("http://[0:0:0:0:0:ffff:7f00:1]/b", "private_address"),
        ("http://[64:ff9b::7f00:1]/b", "private_address"),
        ("http://[fe80::1%25eth0]/b", "bad_url"),
        ("http://[::1/b", "bad_url"),
        ("http://[:::]/b", "bad_url"),
        ("http://[1.2.3.4]/b", "bad_url"),
        ("http://2130706433/b", "private_address"),
        ("http://127.1/b", "private_address"),
        ("http://127.0.0.1./b", "private_address"),
        ("http://0177.0.0.1/b", "private_address"),
        ("http://0x7f.1/b", "private_address"),
        ("http://0x7f000001/b", "private_address"),
        ("http://0x7f.0.0.0x1./b", "private_address"),
        ("http://a.0x/b", "bad_url"),
        ("http://a.1/b", "bad_url"),
        ("http://1.2.3.4.5/b", "bad_url"),
        ("http://256.1.1.1/b", "bad_url"),
        ("http://%31%32%37.0.0.1/b", "private_address"),
        (f"http://{LABEL}a.example/b", "bad_url"),
        (f"http://a.{LABEL}a/b", "bad_url"),
        ("http://a..example/b", "bad_url"),
        ("http://.example/b", "bad_url"),
        ("http://a.example../b", "bad_url"),
        ("http://./b", "bad_url"),
        ("http://xn--a.example/b", "bad_url"),
        ("http://a.xn--/b", "bad_url"),
        ("http://a.example:22/b", "bad_url"),
        ("http://a.example:8080/b", "bad_url"),
        ("http://me:pw@a.example/b", "bad_url"),
        ("file:///etc/passwd", "bad_url"),
        ("data:image/png;base64,AA", "bad_url"),
        ("/b.jpg", "bad_url"),
        ("", "bad_url"),
    ],
)
def test_targets_are_web_urls_of_public_hosts(text, expected):
    assert str(parse_target(text)) == expected


@pytest.mark.parametrize("text", ["http://127.0.0.1/", "http://[::1]/", "http://10.0.0.1:443/"])
def test_private_addresses_are_targets_where_they_are_allowed(text):
    assert str(parse_target(text, allow_private=True)) == text


@pytest.mark.parametrize(
    ("port", "is_allowed"), [(1023, False), (1024, True), (8080, True), (65535, True), (6000, False), (6667, False)]
)
def test_high_ports_are_asked_by_option_where_no_other_service_listens(port, is_allowed):
    url = f"http://a.example:{port}/"
    assert str(parse_target(url, high_ports=True)) == (url if is_allowed else "bad_url")
    assert parse_target(url) is DropReason.BAD_URL
    base = URL("http://a.example/")
    assert str(parse_redirect(url, base, high_ports=True)) == (url if is_allowed else "bad_redirect")
    assert parse_redirect(url, base) is DropReason.BAD_REDIRECT


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("c.jpg", "http://a.example/b/c.jpg"),
        ("//c.example/d", "http://c.example/d"),
        ("http://10.0.0.1/", "private_address"),
        ("//2130706433/", "private_address"),
        (f"//{LABEL}a.example/", "bad_redirect"),
        ("//c..example/", "bad_redirect"),
        ("gopher://c.example/", "bad_redirect"),
        ("", "bad_redirect"),
    ],
)
def test_redirects_are_checked_like_any_target(location, expected):
    assert str(parse_redirect(location, URL("http://a.example/b/x.jpg"))) == expected


HOSTS = st.text("\ud800\udcffaA0x1.-_:[]@%\\/\u3002\uff11\xfc\u00ad\u200d\U0001f4a9", max_size=80) | st.from_regex(
    r"(xn--)?[a-z0-9-]{0,70}(\.[a-z0-9]{0,5}){0,3}", fullmatch=True
)
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)  # bytes of header lines may become surrogates
URLS = ANY_TEXT | st.builds("{}//{}{}".format, st.sampled_from(["http:", "https:", ""]), HOSTS, ANY_TEXT)


@given(URLS, st.booleans(), st.booleans())
@settings(max_examples=400)
def test_no_url_or_location_is_an_error_and_what_is_let_through_can_be_asked(text, allow_private, high_ports):
    base = URL("http://a.example/b")
    for target in (
        parse_target(text, allow_private=allow_private, high_ports=high_ports),
        parse_redirect(text, base, allow_private=allow_private, high_ports=high_ports),
    ):
        if isinstance(target, URL):
            assert target.host and target.origin() and target.raw_host.encode("idna")
            assert parse_target(str(target), allow_private=allow_private, high_ports=high_ports) == target


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


class Names:
    """In place of name servers: answers by name; an answer is a list of addresses, an error, or None: silence."""

    def __init__(self, answers):
        self.answers, self.asked = answers, []

    async def getaddrinfo(self, host, family, type):
        self.asked.append(host)
        answer = self.answers[host]
        if answer is None:
            await asyncio.sleep(60)
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(nodes=[SimpleNamespace(addr=(address.encode(), 80)) for address in answer])

    async def close(self):
        pass


def resolve(answers, *hosts, redirections=(), port=80, **options):
    """Addresses of hosts, or what asking for them raised; and the names that were asked for."""
    names = Names(answers)

    async def run():
        resolver = GuardedResolver(redirections, **options)
        await resolver._names.close()
        resolver._names = names
        found = []
        for host in hosts:
            try:
                found += [f"{entry['host']}:{entry['port']}" for entry in await resolver.resolve(host, port)]
            except OSError as error:
                found.append(type(error))
        return found

    return asyncio.run(run()), names.asked


def test_the_resolver_keeps_public_addresses_only_and_ipv4_first():
    answers = {"a.example": ["10.0.0.1", "2606:2800:220:1::1", "93.184.216.34", "::1"]}
    assert resolve(answers, "a.example", "a.example") == (["93.184.216.34:80"] * 2, ["a.example"])


def test_a_name_with_private_addresses_only_is_refused():
    answers = {"a.example": ["10.0.0.1", "::ffff:127.0.0.1"]}
    assert resolve(answers, "a.example")[0] == [PrivateAddress]
    assert resolve(answers, "a.example", allow_private=True)[0] == ["10.0.0.1:80"]
    assert resolve(answers, "a.example", exempt=["a.example"])[0] == ["10.0.0.1:80"]


def test_names_that_do_not_exist_are_told_from_servers_that_fail_or_are_silent():
    no_name, failure = aiodns.error.DNSError(pycares.errno.ARES_ENOTFOUND), aiodns.error.DNSError(2, "server failure")
    answers = {"a.example": no_name, "b.example": failure, "c.example": None}
    found, _ = resolve(answers, "a.example", "b.example", "c.example", timeout_s=0.05)
    assert found == [NoSuchName, OSError, OSError]


def test_addresses_need_no_name_server():
    assert resolve({}, "93.184.216.34", "[2606:2800:220:1::1]", "127.0.0.1") == (
        ["93.184.216.34:80", "2606:2800:220:1::1:80", PrivateAddress],
        [],
    )


def test_the_first_redirection_that_applies_decides_and_is_not_guarded():
    redirections = [parse_redirection("a.*=127.0.0.1:81"), parse_redirection("*.example=127.0.0.1:82")]
    assert resolve({}, "a.example", "b.example", redirections=redirections)[0] == ["127.0.0.1:81", "127.0.0.1:82"]


def test_an_address_that_is_dead_gives_way_to_the_next_one():
    async def run():
        resolver = GuardedResolver()
        await resolver._names.close()
        resolver._names = Names({"a.example": ["93.184.216.34", "93.184.216.35"]})
        found = []
        for _ in range(3):
            found.append(await resolver.find("a.example"))
            resolver.report_dead("a.example")
        return found

    assert asyncio.run(run()) == ["93.184.216.34", "93.184.216.35", "93.184.216.34"]
