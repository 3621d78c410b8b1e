"""Sites: hosts of one operator are one, those of different owners under one suffix are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.web.sites import site_of

hosts = st.lists(st.sampled_from(["a", "b", "co", "uk", "com", "ck", "www", "xn--p1ai", "7", "example"]), min_size=1)


@pytest.mark.parametrize(
    ("host", "site"),
    [
        ("example.com", "example.com"),
        ("a.b.c.example.com", "example.com"),
        ("img.shop.co.uk", "shop.co.uk"),
        ("img.other.co.uk", "other.co.uk"),
        ("co.uk", "co.uk"),
        ("com", "com"),
        ("one.wordpress.com", "wordpress.com"),
        ("two.blogspot.com", "blogspot.com"),
        ("me.github.io", "github.io"),
        ("a.b.ck", "a.b.ck"),
        ("x.a.b.ck", "a.b.ck"),
        ("b.ck", "b.ck"),
        ("x.www.ck", "www.ck"),
        ("a.city.kawasaki.jp", "city.kawasaki.jp"),
        ("img.xn--80ak6aa92e.xn--p1ai", "xn--80ak6aa92e.xn--p1ai"),
        ("a.xn--85x722f.xn--55qx5d.cn", "xn--85x722f.xn--55qx5d.cn"),
        ("img.a.com.", "a.com"),
        ("img.a.example", "a.example"),
        ("a.example", "a.example"),
        ("localhost", "localhost"),
        ("my_host.a.com", "a.com"),
        ("192.0.2.7", "192.0.2.7"),
        ("0.2.7", "0.2.7"),
        ("192.0.0x2", "192.0.0x2"),
        ("7.a.com", "a.com"),
        ("[2001:db8::1]", "[2001:db8::1]"),
    ],
)
def test_the_site_of_a_host(host, site):
    assert site_of(host) == site


@given(hosts)
def test_a_site_is_the_end_of_its_hosts_and_its_own_site(labels):
    host = ".".join(labels)
    site = site_of(host)
    assert f".{host}".endswith(f".{site}")
    assert site_of(site) == site


def test_addresses_that_share_their_last_numbers_are_strangers():
    assert site_of("10.0.7.9") != site_of("172.16.7.9")
