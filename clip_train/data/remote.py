"""Images by URL: one request, with limits on time and size.

In: an http(s) URL that a user named. Out: the bytes of the answer.

This is for a handful of images that somebody asks for by name. Whole lists of URLs are the business of
``wit400m fetch-images``, which obeys robots.txt and keeps rates.
"""

import http.client
import time
import urllib.error
import urllib.request

from clip_train.errors import InputError

MAX_BYTES = 64 * 2**20
TIMEOUT_S = 20.0
_SCHEMES = ("http://", "https://")
_HEADERS = {"User-Agent": "wit400m-clip-train (an image that a user named)", "Accept": "image/*"}
_CHUNK_BYTES = 2**16
_HANDLERS = (  # no ftp:, no file:, not even after a redirect
    urllib.request.ProxyHandler,
    urllib.request.HTTPHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPRedirectHandler,
    urllib.request.HTTPErrorProcessor,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.UnknownHandler,
)


def is_url(source: str) -> bool:
    """Whether a source is an http(s) URL rather than a path."""
    return source.lower().startswith(_SCHEMES)


def fetch_image(url: str, *, timeout_s: float = TIMEOUT_S, max_bytes: int = MAX_BYTES) -> bytes:
    """The body of an answer; TLS is verified, redirects are followed.

    Args:
        url: An http(s) URL.
        timeout_s: Longest silence; and, from the first byte, longest time for the rest.
        max_bytes: Largest body taken.

    Raises:
        InputError: When there is no answer, an error, or a body that is too large or too slow.
    """
    opener = urllib.request.OpenerDirector()
    for handler in _HANDLERS:
        opener.add_handler(handler())
    body = bytearray()
    try:
        with opener.open(urllib.request.Request(url, headers=_HEADERS), timeout=timeout_s) as answer:
            deadline = time.monotonic() + timeout_s
            while chunk := answer.read1(_CHUNK_BYTES):
                body += chunk
                if len(body) > max_bytes:
                    raise InputError(f"{url}: larger than {max_bytes:,} bytes")
                if time.monotonic() > deadline:
                    raise InputError(f"{url}: not all there after {timeout_s:g} s")
    except urllib.error.HTTPError as error:
        error.close()
        raise InputError(f"{url}: the server answers {error.code} ({_say(error.reason)})") from error
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: no URL, after all
        raise InputError(f"{url}: cannot be fetched ({_say(getattr(error, 'reason', error))})") from error
    return bytes(body)


def _say(reason: object) -> str:
    """A reason in one line without control characters: a server may have written it."""
    line = (str(reason).strip() or type(reason).__name__).splitlines()[0]
    return "".join(filter(str.isprintable, line))[:200]
