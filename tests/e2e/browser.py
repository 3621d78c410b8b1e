"""A browser without a screen, told what to do by the Chrome DevTools Protocol.

Source: https://chromedevtools.github.io/devtools-protocol/ (Emulation, Network, Page, Runtime).
"""

import asyncio
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

_START_S = 120
_LOAD_S = 60
_SWITCHES = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0")
# What a reader would see: how broad the page is, words that are broken in two, pictures that are not there, texts that
# lie beyond their page, and how dark texts are on what is behind them.
_MEASURE = r"""(() => {
  const root = document.documentElement;
  document.querySelectorAll('details').forEach(one => one.open = true);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const broken = [], outside = [], texts = [];
  const light = color => {
    const [r, g, b] = color.match(/[0-9.]+/g).slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (!/, 0\)$/.test(color) && color !== 'transparent') return color;
    }
    return getComputedStyle(document.body).backgroundColor;
  };
  let least = 99, where = '';
  for (let node; node = walker.nextNode();) {
    const parent = node.parentElement;
    if (!node.data.trim() || parent.closest('style, title, svg') || !parent.getClientRects().length) continue;
    const [one, other] = [light(getComputedStyle(parent).color), light(behind(parent))].sort((a, b) => b - a);
    const contrast = (one + 0.05) / (other + 0.05);
    if (contrast < least) { least = contrast; where = node.data.trim().slice(0, 40); }
    for (const word of node.data.matchAll(/[\p{L}\p{N}]{2,24}/gu)) {
      const range = document.createRange();
      range.setStart(node, word.index); range.setEnd(node, word.index + word[0].length);
      const boxes = [...range.getClientRects()].filter(box => box.width > 0);
      const lines = new Set(boxes.map(box => Math.round(box.top)));
      const whole = node.data.slice(0, word.index).match(/\S*$/)[0] + node.data.slice(word.index).match(/^\S*/)[0];
      if (lines.size > 1 && whole.length <= 24 && !/[\u3000-\u9fff]/.test(whole)) broken.push(word[0]);
      if (boxes.some(box => box.right > root.clientWidth + 1 || box.left < -1)) outside.push(word[0]);
    }
  }
  const images = [...document.images];
  return {
    width: root.scrollWidth, window: root.clientWidth, broken, outside, contrast: least, where,
    images: images.length, shown: images.filter(one => one.complete && one.naturalWidth > 0).length,
    pictures: [...document.querySelectorAll('svg')].filter(one => one.getClientRects().length).length,
    paper: light(getComputedStyle(document.body).backgroundColor),
    asked: performance.getEntriesByType('resource').map(one => one.name).filter(name => !name.startsWith('data:')),
  };
})()"""


class Look(NamedTuple):
    """How a page is looked at."""

    width: int  # of the window, pixels
    scheme: str  # light or dark


def find_browser() -> str:
    """The program; empty: there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")


def measure_page(path: Path, looks: list[Look]) -> list[dict[str, Any]]:
    """Shows a page and measures it, once a look.

    Returns:
        What `_MEASURE` gives, and as ``requests`` all that the page asked for besides itself and what is within it.
    """
    return asyncio.run(asyncio.wait_for(_measure(path, looks), _START_S + _LOAD_S * len(looks)))


async def _measure(path: Path, looks: list[Look]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        program = await asyncio.create_subprocess_exec(
            find_browser(),
            *_SWITCHES,
            f"--user-data-dir={profile}",
            "about:blank",
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
        )
        assert program.stderr
        try:
            while not (found := re.search(rb"ws://[^/]+:(\d+)/", await program.stderr.readline())):
                assert program.returncode is None, "the browser does not start"
            async with aiohttp.ClientSession() as session:
                return [await _look(session, int(found[1]), path, look) for look in looks]
        finally:
            program.terminate()
            await program.communicate()


async def _look(session: aiohttp.ClientSession, port: int, path: Path, look: Look) -> dict[str, Any]:
    async with session.get(f"http://127.0.0.1:{port}/json") as answer:
        [address] = [tab["webSocketDebuggerUrl"] for tab in await answer.json() if tab["type"] == "page"]
    async with session.ws_connect(address, max_msg_size=0) as socket:
        tab = _Tab(socket)
        await tab.call("Network.enable")
        await tab.call("Page.enable")
        await tab.call(
            "Emulation.setDeviceMetricsOverride",
            width=look.width,
            height=900,
            deviceScaleFactor=1,
            mobile=look.width < 500,
        )
        scheme = {"name": "prefers-color-scheme", "value": look.scheme}
        await tab.call("Emulation.setEmulatedMedia", features=[scheme])
        await tab.call("Page.navigate", url=path.absolute().as_uri())
        await tab.wait_for("Page.loadEventFired")
        measured = (await tab.call("Runtime.evaluate", expression=_MEASURE, returnByValue=True))["result"]["value"]
        own = {path.absolute().as_uri()}
        return measured | {"requests": [url for url in tab.asked if url not in own and not url.startswith("data:")]}


class _Tab:
    """A page of the browser, and what it asked for."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self._seen = set[str]()
        self.asked = list[str]()

    async def call(self, method: str, **options: Any) -> dict[str, Any]:
        """Has something done; returns its result."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": options})
        while (message := await self._receive()).get("id") != self._number:
            pass
        assert "error" not in message, message["error"]
        return dict(message["result"])

    async def wait_for(self, event: str) -> None:
        """Waits until something has happened."""
        while event not in self._seen:
            await self._receive()

    async def _receive(self) -> dict[str, Any]:
        message = await self._socket.receive_json()
        self._seen.add(message.get("method", ""))
        if message.get("method") == "Network.requestWillBeSent":
            self.asked.append(message["params"]["request"]["url"])
        return dict(message)
