"""Commits of a push to a hub: the manifest is in the last, and what told of another set goes in the first."""

from types import SimpleNamespace

import pytest

from pipeline.base import files
from pipeline.sharding.finished import hub
from pipeline.sharding.finished.pushing import ChangedFile, Plan, SetFile


class Client:
    """As much of the package as commits need; it keeps what it is given."""

    def __init__(self, failing: int = 0) -> None:
        self.commits, self.failing, self.utils = [], failing, SimpleNamespace(disable_progress_bars=lambda: None)
        self._api = SimpleNamespace(create_commit=self._commit)

    def HfFileSystem(self):
        return self

    def resolve_path(self, path):
        owner = path.removeprefix("hf://datasets/").split("/")
        return SimpleNamespace(
            repo_id="/".join(owner[:2]), repo_type="dataset", revision="main", path_in_repo="/".join(owner[2:])
        )

    def invalidate_cache(self):
        pass

    def CommitOperationAdd(self, *, path_in_repo, path_or_fileobj):
        return path_in_repo, files.read_bytes(path_or_fileobj)

    def CommitOperationDelete(self, *, path_in_repo):
        return path_in_repo, None

    def _commit(self, *, operations, **_):
        if self.failing:
            self.failing -= 1
            raise RuntimeError("come back later")
        self.commits.append(dict(operations))


@pytest.fixture
def wanted(tmp_path):
    """Files of a set, the manifest last."""
    found = []
    for name in ("00000.tar", "00001.tar", "card/funnel.json", "_stage.json", "manifest.json"):
        files.write_bytes_whole(str(tmp_path / name), name.encode())
        found.append(SetFile(name, len(name), files.file_digest(str(tmp_path / name))))
    return found


def commit(client, plan, folder, monkeypatch, tries=1):
    monkeypatch.setattr(hub, "_hub", lambda: client)
    monkeypatch.setattr(hub, "_MOST_FILES", 2)
    options = {"folder": str(folder), "target": "hf://datasets/me/pairs/v1", "at_once": 1, "tries": tries}
    return [file.name for file in hub.commit_all(plan, **options)]


def test_of_several_commits_the_first_takes_away_what_tells_of_another_set_and_the_last_has_the_manifest(
    wanted, tmp_path, monkeypatch
):
    client = Client()
    plan = Plan(wanted, [], ["00002.tar"], ["_stage.json", "manifest.json"], 0)
    assert commit(client, plan, tmp_path, monkeypatch) == [file.name for file in wanted]
    gone = dict.fromkeys(["v1/_stage.json", "v1/manifest.json", "v1/00002.tar"])
    first, second, last = client.commits
    assert first == gone | {"v1/00000.tar": b"00000.tar", "v1/00001.tar": b"00001.tar"}
    assert list(second) == ["v1/card/funnel.json", "v1/_stage.json"]
    assert last == {"v1/manifest.json": b"manifest.json"}


def test_one_commit_replaces_the_manifest_and_takes_away_what_is_gone(wanted, tmp_path, monkeypatch):
    client = Client()
    commit(client, Plan(wanted[-2:], wanted[:-2], ["00002.tar"], ["manifest.json"], 0), tmp_path, monkeypatch)
    assert [list(one) for one in client.commits] == [["v1/00002.tar", "v1/_stage.json", "v1/manifest.json"]]


def test_a_commit_that_fails_is_tried_again_and_files_that_are_others_are_not_committed(wanted, tmp_path, monkeypatch):
    monkeypatch.setitem(hub.with_patience.__kwdefaults__, "pause", lambda seconds: None)
    client = Client(failing=2)
    assert len(commit(client, Plan(wanted, [], [], [], 0), tmp_path, monkeypatch, tries=3)) == len(wanted)
    with pytest.raises(OSError, match="hf://datasets/me/pairs/v1: come back later"):
        commit(Client(failing=3), Plan(wanted, [], [], [], 0), tmp_path, monkeypatch, tries=3)
    (tmp_path / "00001.tar").write_bytes(b"00001?tar")
    client = Client()
    with pytest.raises(ChangedFile, match="it was not sent"):
        commit(client, Plan(wanted, [], [], [], 0), tmp_path, monkeypatch)
    assert client.commits == []
