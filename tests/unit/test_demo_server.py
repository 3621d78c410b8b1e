"""The loopback server answers for every host of the world, faults included."""

import http.client
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from jobs.demo import server
from jobs.demo.world import faults
from jobs.demo.world.crawl import Crawl
from jobs.demo.world.web import Answer, dump_answers, write_bodies

GOOD = "shapes.example/pictures/00000.jpg"


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder: Path = tmp_path_factory.mktemp("web")
    web = Crawl([], {}, {GOOD: jpeg()}, {})
    for fault in faults.list_faults(jpeg(), f"http://{GOOD}"):
        web.bodies[f"{faults.ODD_HOST}/{fault.name}"] = fault.body
        web.answers[f"{faults.ODD_HOST}/{fault.name}"] = fault.answer
    for name, answer, body in faults.list_host_answers():
        web.answers[name], web.bodies[name] = answer, body
    web.bodies[f"{faults.BUSY_HOST}/a.jpg"] = jpeg()
    web.answers[f"{faults.BUSY_HOST}/a.jpg"] = Answer(behaviour="busy once")
    with (folder / "bodies.zip").open("wb") as file:
        write_bodies(file, web.bodies.items())
    (folder / "answers.json").write_bytes(dump_answers(web.answers))
    with server.serve_web(str(folder)) as port:
        yield port


def ask(port: int, name: str) -> tuple[http.client.HTTPResponse, bytes]:
    host, _, path = name.partition("/")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", f"/{path}", headers={"Host": host})
    response = connection.getresponse()
    return response, response.read()


def test_a_picture_is_served_by_host_and_path(port: int):
    response, body = ask(port, GOOD)
    assert (response.status, response.headers["Content-Type"]) == (200, "image/jpeg")
    Image.open(io.BytesIO(body)).load()
    assert ask(port, GOOD.replace("shapes", "other"))[0].status == 404


@pytest.mark.parametrize(
    ("name", "status"),
    [("missing.jpg", 404), ("gone.jpg", 410), ("failing.jpg", 500), ("forbidden.jpg", 403), ("moved.jpg", 301)],
)
def test_a_status_is_answered(port: int, name: str, status: int):
    assert ask(port, f"{faults.ODD_HOST}/{name}")[0].status == status


def test_a_redirect_says_where_to(port: int):
    assert ask(port, f"{faults.ODD_HOST}/moved.jpg")[0].headers["Location"] == f"http://{GOOD}"


def test_an_opt_out_is_in_the_header(port: int):
    assert "noai" in ask(port, f"{faults.ODD_HOST}/opted-out.jpg")[0].headers["X-Robots-Tag"]


def test_the_wrong_type_is_declared(port: int):
    assert ask(port, f"{faults.ODD_HOST}/page.jpg")[0].headers["Content-Type"] == "text/html"


def test_a_cut_body_ends_early(port: int):
    with pytest.raises(http.client.IncompleteRead):
        ask(port, f"{faults.ODD_HOST}/cut.jpg")


def test_an_endless_body_is_announced(port: int):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/endless.jpg", headers={"Host": faults.ODD_HOST})
    assert int(connection.getresponse().headers["Content-Length"]) > 10**10


def test_a_hang_up_has_no_answer(port: int):
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        ask(port, f"{faults.ODD_HOST}/hang-up.jpg")


def test_a_slow_answer_comes_late(port: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server, "SLOW_S", 0.01)
    assert ask(port, f"{faults.ODD_HOST}/slow.jpg")[0].status == 200


def test_a_busy_host_is_busy_once(port: int):
    first, _ = ask(port, f"{faults.BUSY_HOST}/a.jpg")
    assert (first.status, first.headers["Retry-After"]) == (429, "1")
    assert ask(port, f"{faults.BUSY_HOST}/a.jpg")[0].status == 200


def test_robots_files_are_served_where_there_is_one(port: int):
    assert b"Disallow: /private/" in ask(port, "shapes.example/robots.txt")[1]
    assert ask(port, f"{faults.DOWN_HOST}/robots.txt")[0].status == 503
    assert ask(port, "blog.example/robots.txt")[0].status == 404
