"""Where a benchmark takes place: its URLs as both programs read them, where their hosts are, and the servers.

In: a folder, how many images, and the pictures. Out: a `Scene`, for as long as its servers run.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

import names
import slow_web
from inputs import write_inputs
from programs import Scene
from servers import image_server, make_certificates, name_server

MANY_HOSTS, CERTIFIED_HOSTS, SLOW_HOSTS, SOAKED_HOSTS = (
    400,
    100,
    5_000,
    400,
)  # a certificate names its hosts, and is sent every time


class Setting(NamedTuple):
    """What a scene is made of."""

    folder: str
    num_images: int
    pictures: list[bytes]


class Served(NamedTuple):
    """A scene, how many of its images can be had, and the process of its image server."""

    scene: Scene
    num_good: int
    server: int


@contextmanager
def serve_web(setting: Setting, urls: list[str], *, certified: bool = False) -> Iterator[Served]:
    """URLs, and the server they are at."""
    write_inputs(setting.folder, urls)
    flags, trusted = [], ""
    if certified:
        hosts = sorted({slow_web.split_url(url)[0] for url in urls})
        leaf, trusted = make_certificates(setting.folder, hosts)
        flags = ["--certificate", leaf]
    with image_server(setting.folder, setting.pictures, *flags) as server:
        https = server.at("https" if certified else "refused")
        to = slow_web.connections(server.at("http"), https, refused=server.at("refused"), hung=server.at("hung"))
        scene = Scene(setting.folder, len(urls), connect_to=list(to), authorities=trusted)
        yield Served(scene, slow_web.expected_images(urls), server.process)


def fast_web(setting: Setting) -> AbstractContextManager[Served]:
    """Hosts that answer at once."""
    urls = slow_web.fast_urls(setting.num_images, num_hosts=MANY_HOSTS, scheme="http")
    return serve_web(setting, urls)


def certified_web(setting: Setting) -> AbstractContextManager[Served]:
    """The same by https, with an authority of its own."""
    urls = slow_web.fast_urls(setting.num_images, num_hosts=CERTIFIED_HOSTS, scheme="https")
    return serve_web(setting, urls, certified=True)


def slow_hosts(setting: Setting) -> AbstractContextManager[Served]:
    """A slow web; of one image, a host that answers at once."""
    if setting.num_images == 1:
        return fast_web(setting)
    return serve_web(setting, slow_web.plan_urls(setting.num_images, num_hosts=SLOW_HOSTS))


def soaked_web(setting: Setting) -> AbstractContextManager[Served]:
    """Hosts that answer at once, a twentieth of it with a fault."""
    return serve_web(setting, slow_web.soaked_urls(setting.num_images, num_hosts=SOAKED_HOSTS))


@contextmanager
def named_hosts(setting: Setting) -> Iterator[Served]:
    """Each URL of a host of its own, which a name server is asked for."""
    planned = [names.UP + "-0.example"] if setting.num_images == 1 else names.plan_names(setting.num_images)
    write_inputs(setting.folder, [f"http://{name}/0/{slow_web.GOOD}/{n}.jpg" for n, name in enumerate(planned)])
    ports = ["--ports", "80", "443"]
    with image_server(setting.folder, setting.pictures, *ports) as server, name_server(setting.folder):
        num_good = sum(1 for name in planned if name.startswith(names.UP))
        yield Served(Scene(setting.folder, len(planned), flags=["--allow-private"]), num_good, server.process)
