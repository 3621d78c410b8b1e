"""What an answer or an error of the network stands for."""

import aiohttp
import pytest

from pipeline.base.drops import DropReason
from pipeline.fetching.answers import RETRIED, classify_error, classify_status
from pipeline.fetching.hosts import HOST_FAILURES
from pipeline.fetching.resolver import PrivateAddress


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (200, None),
        (203, None),
        (201, DropReason.HTTP_REFUSED),
        (204, DropReason.HTTP_REFUSED),
        (206, DropReason.HTTP_REFUSED),
        (400, DropReason.HTTP_REFUSED),
        (403, DropReason.HTTP_REFUSED),
        (404, DropReason.NOT_FOUND),
        (408, DropReason.TIMED_OUT),
        (410, DropReason.NOT_FOUND),
        (429, DropReason.THROTTLED),
        (499, DropReason.HTTP_REFUSED),
        (500, DropReason.HTTP_ERROR),
        (599, DropReason.HTTP_ERROR),
    ],
)
@pytest.mark.parametrize("can_wait", [False, True])
def test_a_status_stands_for_a_reason(status, can_wait, reason):
    assert classify_status(status, can_wait=can_wait) is reason


def test_only_a_busy_server_that_says_when_to_come_back_is_one_that_throttles():
    assert classify_status(503, can_wait=True) is DropReason.THROTTLED
    assert classify_status(503, can_wait=False) is DropReason.HTTP_ERROR


KEY = aiohttp.client_reqrep.ConnectionKey("h.example", 80, False, True, None, None, None)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (aiohttp.InvalidURL("http://"), DropReason.BAD_URL),
        (aiohttp.ClientConnectorDNSError(KEY, OSError("no name")), DropReason.UNRESOLVED),
        (aiohttp.ClientConnectorDNSError(KEY, PrivateAddress("10.0.0.1")), DropReason.PRIVATE_ADDRESS),
        (aiohttp.ClientConnectorSSLError(KEY, OSError("tls")), DropReason.TLS_FAILED),
        (aiohttp.ClientConnectorError(KEY, OSError("refused")), DropReason.CONNECT_FAILED),
        (aiohttp.ServerDisconnectedError(), DropReason.BROKEN_ANSWER),
        (aiohttp.ClientPayloadError(), DropReason.BROKEN_ANSWER),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_an_error_stands_for_a_reason(error, reason):
    assert classify_error(error) is reason


def test_what_a_site_refuses_is_never_asked_for_again_and_tells_nothing_against_the_host():
    refusals = {DropReason.HTTP_REFUSED, DropReason.NOT_FOUND, DropReason.OPTED_OUT, DropReason.ROBOTS_DISALLOW}
    assert not refusals & (RETRIED | HOST_FAILURES)
