"""A finished set is sent elsewhere: to another folder, a bucket, a repository of the Hugging Face Hub."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import fsspec
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from jobs.__main__ import main
from pipeline.base import files
from pipeline.sharding.finished import pushing

LAST = ["_stage.json", "manifest.json"]


@pytest.fixture
def shards(finished_set, tmp_path):
    """A copy, to be spoilt."""
    return Path(shutil.copytree(finished_set / "shards", tmp_path / "shards"))


def contents(folder: Path):
    """Every file of a folder but working files."""
    paths = [path for path in folder.rglob("*") if path.is_file() and (path.name[0] != "_" or path.name in LAST)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def push(source, target, *flags):
    return main(["push", str(source), "--to", str(target), "--tries", "2", *flags])


@pytest.fixture
def sent(monkeypatch):
    """The names of the files that are sent, in order."""
    names, send_file = [], pushing.send_file

    def note(file, **options):
        names.append(file.name)
        return send_file(file, **options)

    monkeypatch.setattr(pushing, "send_file", note)
    return names


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("has_stage", [True, False], ids=["as it was written", "a copy without the file of its stage"])
def test_a_set_comes_whole_its_manifest_last_and_nothing_is_sent_twice(shards, tmp_path, sent, capsys, has_stage):
    if not has_stage:
        (shards / "_stage.json").unlink()
    assert push(shards, tmp_path / "there", "--verify-bytes") == 0
    assert contents(tmp_path / "there") == contents(shards)
    assert sent[-2:] == LAST if has_stage else sent[-1] == "manifest.json"
    assert "and read again" in capsys.readouterr().out
    assert main(["verify", str(tmp_path / "there"), "--workers", "1"]) == 0
    sent.clear()
    assert push(shards, tmp_path / "there") == 0
    assert sent == []
    assert "0 files to send" in capsys.readouterr().out


def test_a_file_that_was_changed_at_the_target_is_sent_again(shards, tmp_path, sent):
    there = tmp_path / "there"
    assert push(shards, there) == 0
    flip(there / "00002.tar", 700)
    os.utime(there / "00002.tar", (1, 1))
    sent.clear()
    assert push(shards, there) == 0
    assert sent == ["00002.tar"]
    assert contents(there) == contents(shards)


@pytest.mark.parametrize("name", ["00003.tar", "00003.parquet", "card/query_counts.parquet", "README.md"])
def test_a_file_that_is_not_what_the_set_says_is_not_sent_and_no_manifest_either(shards, tmp_path, capsys, name):
    flip(shards / name, 40)
    assert push(shards, tmp_path / "there") == 2
    assert f"{shards}/{name}: " in capsys.readouterr().err
    assert not {name, *LAST} & contents(tmp_path / "there").keys()


def test_a_push_that_breaks_off_goes_on_where_it_was(shards, tmp_path, sent, monkeypatch):
    there, send_file = tmp_path / "there", pushing.send_file

    def fail(file, **options):
        if file.name == "00004.tar":
            raise OSError("the line is dead")
        return send_file(file, **options)

    with monkeypatch.context() as patch:
        patch.setattr(pushing, "send_file", fail)
        patch.setitem(pushing.with_patience.__kwdefaults__, "pause", lambda seconds: None)
        assert push(shards, there, "--at-once", "1") == 2
    before = set(sent)
    assert before and not before & {"00004.tar", *LAST}
    sent.clear()
    assert push(shards, there) == 0
    assert not set(sent) & before
    assert contents(there) == contents(shards)


def test_a_failure_that_passes_is_waited_for(shards, tmp_path, monkeypatch):
    failed, send_file, pauses = set(), pushing.send_file, []

    def fail_once(file, **options):
        if file.name not in failed:
            failed.add(file.name)
            raise OSError("not now")
        return send_file(file, **options)

    monkeypatch.setattr(pushing, "send_file", fail_once)
    monkeypatch.setitem(pushing.with_patience.__kwdefaults__, "pause", pauses.append)
    assert push(shards, tmp_path / "there") == 0
    assert pauses == [1.0] * len(failed)
    assert contents(tmp_path / "there") == contents(shards)


def test_what_was_removed_goes_from_the_target_too_and_the_manifest_is_away_meanwhile(shards, tmp_path, monkeypatch):
    there, seen, keys = tmp_path / "there", [], tmp_path / "keys"
    assert push(shards, there) == 0
    (there / "notes.txt").write_text("mine")
    keys.write_text("\n".join(pq.read_table(shards / "00000.parquet")["key"].to_pylist()))
    assert main(["remove", str(shards), "--keys", str(keys), "--workers", "1"]) == 0
    send_file = pushing.send_file

    def look(file, **options):
        seen.append((there / "manifest.json").exists())
        return send_file(file, **options)

    monkeypatch.setattr(pushing, "send_file", look)
    assert push(shards, there, "--verify-bytes") == 0
    assert not any(seen) and len(seen) > 2
    assert contents(there) == contents(shards) | {"notes.txt": b"mine"}


def test_bad_use_is_one_clear_line(shards, tmp_path, capsys):
    for flags, told in (
        ([str(tmp_path), "--to", str(tmp_path.parent / "x")], "no manifest.json"),
        ([str(shards), "--to", str(shards / "copy")], "is in the other"),
        ([str(shards), "--to", str(shards / "manifest.json")], "is in the other"),
    ):
        assert main(["push", *flags]) == 2
        assert told in capsys.readouterr().err
    (shards / "_removal").mkdir()
    (shards / "_removal" / "plan.json").write_text("{}")
    assert push(shards, tmp_path / "there") == 2
    assert "a removal was cut short" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        push(shards, tmp_path / "there", "--at-once", "0")


@pytest.fixture(scope="module")
def bucket():
    """The address of an empty bucket in a server of S3's protocol."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "me")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        fsspec.filesystem("s3").mkdir("sets")
        yield "s3://sets"
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    server.stop()


def verify(folder, capsys, *flags):
    capsys.readouterr()
    code = main(["verify", str(folder), "--workers", "1", *flags])
    return code, capsys.readouterr().out.splitlines()


def test_a_bucket_gets_the_set_once_and_every_fault_there_is_found_and_mended(shards, bucket, sent, capsys):
    there = f"{bucket}/one"
    assert push(shards, there, "--verify-bytes") == 0
    names = {name for name in files.list_stored(there) if name[0] != "_" or name == "_stage.json"}
    assert {name: files.read_bytes(f"{there}/{name}") for name in names} == contents(shards)
    sent.clear()
    assert push(shards, there) == 0
    assert sent == []
    assert verify(there, capsys)[0] == 0
    tar = files.read_bytes(f"{there}/00001.tar")
    faults = {
        "00001.tar: sha256": lambda: files.write_bytes_whole(f"{there}/00001.tar", tar[:600] + b"?" + tar[601:]),
        "00002.tar: ": lambda: files.write_bytes_whole(f"{there}/00002.tar", tar[:5000]),
        "00003.tar: ": lambda: files.remove_file(f"{there}/00003.tar"),
        "00099.tar: not in the manifest": lambda: files.write_bytes_whole(f"{there}/00099.tar", tar),
    }
    for spoil in faults.values():
        spoil()
    code, problems = verify(there, capsys)
    assert code == 1
    for told in faults:
        assert any(problem.startswith(told) for problem in problems), (told, problems)
    assert push(shards, there, "--verify-bytes") == 0
    assert sent == ["00001.tar", "00002.tar", "00003.tar"]
    assert verify(there, capsys) == (1, ["00099.tar: not in the manifest"])  # nobody pushed it; it is left alone


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub's protocol as a push needs; files, contents by digest, and commits lie in its server."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def _answer(self, body: bytes, status=200, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Content-Type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, content, status=200, **headers):
        self._answer(json.dumps(content).encode(), status, **headers)

    def _body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_GET(self):
        path = unquote(self.path.partition("?")[0])
        self._body()
        hub = self.server
        if found := re.fullmatch(r"/api/datasets/me/pairs(/revision/main)?", path):
            self._json({"id": "me/pairs", "sha": "0" * 40, "siblings": []})
        elif path.startswith("/api/datasets/me/pairs/tree/main"):
            inner = path.removeprefix("/api/datasets/me/pairs/tree/main").strip("/")
            start, entries, folders = f"{inner}/" if inner else "", [], set()
            for name, data in sorted(hub.files.items()):
                if not name.startswith(start):
                    continue
                rest = name[len(start) :]
                if "/" in rest and "recursive=true" not in self.path.lower():
                    folders.add(start + rest.partition("/")[0])
                    continue
                is_large = not name.endswith((".json", ".md"))
                digest = hashlib.sha256(data).hexdigest()
                entry = {"type": "file", "path": name, "size": len(data), "oid": pushing.git_blob(data)}
                entry |= {"lfs": {"oid": digest, "size": len(data), "pointerSize": 134}} if is_large else {}
                entries.append(entry)
            entries += [{"type": "directory", "path": name, "oid": "0" * 40} for name in sorted(folders)]
            self._json(entries if entries or not inner else {"error": "none"}, 200 if entries or not inner else 404)
        elif found := re.fullmatch(r"/datasets/me/pairs/resolve/main/(.+)", path):
            if found[1] in hub.files:
                etag = hashlib.sha256(hub.files[found[1]]).hexdigest()
                self._answer(hub.files[found[1]], ETag=f'"{etag}"', X_Repo_Commit="0" * 40)
            else:
                self._json({"error": "Entry not found"}, 404, X_Error_Code="EntryNotFound")
        else:
            self._json({"error": f"not known here: {path}"}, 404)

    do_HEAD = do_GET

    def do_PUT(self):
        data = self._body()
        self.server.uploads.append(len(data))
        self.server.contents[hashlib.sha256(data).hexdigest()] = data
        self._answer(b"")

    def do_POST(self):
        body, hub = self._body(), self.server
        if self.path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif self.path.endswith("/preupload/main"):
            found = [
                {
                    "path": file["path"],
                    "uploadMode": "regular" if file["path"].endswith((".json", ".md")) else "lfs",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            self._json({"files": found})
        elif self.path.endswith("/info/lfs/objects/batch"):
            objects = []
            for one in json.loads(body)["objects"]:
                href = f"http://127.0.0.1:{hub.server_port}/upload/{one['oid']}"
                actions = {} if one["oid"] in hub.contents else {"actions": {"upload": {"href": href, "header": {}}}}
                objects.append(one | actions)
            self._json({"transfer": "basic", "objects": objects})
        elif self.path.partition("?")[0].endswith("/commit/main"):
            self._commit([json.loads(line) for line in body.splitlines()])
        else:
            self._json({"error": f"not known here: {self.path}"}, 404)

    def _commit(self, lines):
        hub = self.server
        if hub.broken:
            hub.broken -= 1
            return self._json({"error": "come back later"}, 500)
        names = []
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "deletedFile":
                del hub.files[value["path"]]
            elif line["key"] == "lfsFile":
                hub.files[value["path"]] = hub.contents[value["oid"]]
            else:
                hub.files[value["path"]] = base64.b64decode(value["content"])
            names.append(value["path"])
        hub.commits.append(names)
        url = f"http://127.0.0.1:{hub.server_port}/datasets/me/pairs/commit/{'0' * 40}"
        self._json({"success": True, "commitUrl": url, "commitOid": "0" * 40})


@pytest.fixture
def hub():
    """A server of the Hub's protocol with an empty repository of data."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.files, server.contents, server.commits, server.uploads, server.broken = {}, {}, [], [], 0
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def push_to_hub(hub, shards, checkout, *flags, to="hf://datasets/me/pairs"):
    """Runs in a process of its own: the client reads where the Hub is when it is imported."""
    environment = os.environ | {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_TOKEN": "hf_token"}
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HOME": str(shards.parent / "hf"), "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-m", "jobs", "push", str(shards), "--to", to, "--tries", "3", *flags]
    return subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, timeout=120)


def test_a_repository_of_the_hub_gets_the_set_in_few_commits_and_nothing_twice(shards, hub, checkout):
    pytest.importorskip("huggingface_hub")
    hub.broken = 1
    done = push_to_hub(hub, shards, checkout, "--verify-bytes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert hub.files == contents(shards)
    assert len(hub.commits) == 1 and "manifest.json" in hub.commits[0]
    hub.uploads.clear()
    again = push_to_hub(hub, shards, checkout)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "0 files to send" in again.stdout
    assert len(hub.commits) == 1 and hub.uploads == []
    hub.files["00001.tar"] = hub.files["00001.tar"][:-1] + b"?"
    hub.files["sizes.json"] = b"{}"
    mended = push_to_hub(hub, shards, checkout)
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert sorted(hub.commits[1]) == ["00001.tar", "sizes.json"]
    assert hub.files == contents(shards)
