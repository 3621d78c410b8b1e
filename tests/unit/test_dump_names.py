"""The files of a dump are told by their names: what is a dump, an index, page views, and what does not go together."""

import json

import pytest

from pipeline.base.dump_names import GivenFiles, sort_files

WIKI = "simplewiki-20260501"
DUMP = f"{WIKI}-pages-articles-multistream.xml.bz2"
INDEX = f"{WIKI}-pages-articles-multistream-index.txt.bz2"
PARTS = [f"{WIKI}-pages-articles-multistream{number}.xml-p{number}p{number}.bz2" for number in (1, 2)]
MONTH, DAY, HOUR = "pageviews-202604-user.bz2", "pageviews-20260430-user.bz2", "pageviews-20260430-010000.gz"
HOURS = [HOUR, HOUR.replace("-01", "-02")]
SEVEN_ZIP = "enwiki-latest-pages-articles.xml.7z"
OTHER, GERMAN = DUMP.replace("0501", "0401"), "dewiki-20260501-pages-articles.xml.bz2"


def plan(tmp_path, *names):
    path = tmp_path / f"{WIKI}.json"
    kinds = {"index": "-index", "pageviews": "pageviews-", "dump": ""}
    rows = [{"kind": next(k for k, part in kinds.items() if part in name), "url": f"/x/{name}"} for name in names]
    path.write_text(json.dumps({"files": rows}))
    return str(path)


@pytest.mark.parametrize(
    ("names", "dumps", "index", "views"),
    [
        pytest.param([INDEX, MONTH, DUMP], [DUMP], INDEX, [MONTH], id="one of each"),
        pytest.param([*PARTS, PARTS[0].replace("1.xml", "-index1.txt")], PARTS, "", [], id="parts have no index here"),
        pytest.param([INDEX, DUMP.removesuffix(".bz2")], [DUMP.removesuffix(".bz2")], "", [], id="unpacked"),
        pytest.param([INDEX.replace("0501", "0401"), DUMP], [DUMP], "", [], id="the index of another date"),
        pytest.param(["a.xml", "b.xml.gz"], ["a.xml", "b.xml.gz"], "", [], id="names of one's own"),
        pytest.param(
            [DUMP, HOUR, HOUR.replace("-01", "-02")], [DUMP], "", [HOUR, HOUR.replace("-01", "-02")], id="hours"
        ),
        pytest.param(["x/" + DUMP, "s3://b/" + INDEX], ["x/" + DUMP], "s3://b/" + INDEX, [], id="anywhere"),
        pytest.param([SEVEN_ZIP], [SEVEN_ZIP], "", [], id="latest"),
    ],
)
def test_every_file_is_told_by_its_name(names, dumps, index, views):
    assert sort_files(names) == GivenFiles(dumps, index, views)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        pytest.param([DUMP, OTHER], "simplewiki-20260401 and simplewiki-20260501", id="two dates"),
        pytest.param([DUMP, GERMAN], "dewiki-20260501 and simplewiki-", id="two wikis"),
        pytest.param(
            [DUMP, DUMP.replace("20260501", "latest")], "simplewiki-20260501 and simplewiki-latest", id="latest"
        ),
        pytest.param([DUMP, DUMP.replace("-multistream", "")], "one dump in 2 forms", id="two forms"),
        pytest.param([DUMP, *PARTS], "one dump in 2 forms", id="whole and in parts"),
        pytest.param([DUMP, DUMP.removesuffix(".bz2")], "one dump twice", id="packed and unpacked"),
        pytest.param([INDEX, MONTH], f"no dump among {INDEX}, {MONTH}", id="no dump"),
        pytest.param([DUMP, MONTH, HOUR], "different spans of time", id="a month and an hour of it"),
        pytest.param([DUMP, MONTH, DAY], "different spans of time", id="a month and a day of it"),
    ],
)
def test_what_does_not_go_together_is_refused(names, message):
    with pytest.raises(ValueError, match=message):
        sort_files(names)


def test_the_list_of_get_dump_says_which_page_views_belong_to_a_dump(tmp_path):
    listed = plan(tmp_path, DUMP, INDEX, MONTH)
    found = sort_files([DUMP, INDEX, MONTH, HOUR, listed])
    assert found == GivenFiles([DUMP], INDEX, [MONTH])
    assert sort_files([DUMP, listed], wants_views=False) == GivenFiles([DUMP], "", [])
    with pytest.raises(ValueError, match=f"get-dump has not finished: {MONTH} of"):
        sort_files([DUMP, INDEX, HOUR, listed])


def test_a_file_that_only_has_the_name_of_a_list_is_named(tmp_path):
    for content in ("[", "[]", '{"files": [{}]}'):
        (tmp_path / f"{WIKI}.json").write_text(content)
        with pytest.raises(ValueError, match=rf"{WIKI}\.json: not get-dump's list of files .*remove it"):
            sort_files([DUMP, str(tmp_path / f"{WIKI}.json")])
