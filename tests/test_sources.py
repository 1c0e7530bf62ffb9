"""``[source.NAME]`` of the configuration: what is read, and that everything wrong is named."""

from __future__ import annotations

import pytest

from tcsql.errors import SetupError
from tcsql.sources import MODES, OPTIONS, TABLE_OPTIONS, FollowedTable, SourceSettings, sources_of

WHOLE = """
port = 1
[source.shop]
url = "mysql://tcsql:word@127.0.0.1/shop"
tables = ["posts", "users"]
mode = "push"
poll_ms = 5
time_zone = "-03:30"
[source.shop.table.users]
columns = ["id", "name"]
where = "deleted = 0"
[source.blog]
url = "mysql://tcsql@db/blog?tls=verify"
tables = ["entries"]
password_file = "blog.password"
"""


def shop(*lines: str, table: str = "") -> str:
    plain = ['url = "mysql://a@h/d"', 'tables = ["posts", "users"]']
    names = {line.partition("=")[0].strip() for line in lines}
    kept = [line for line in plain if line.partition("=")[0].strip() not in names]
    return "\n".join(["[source.shop]", *kept, *lines, table])


def test_sources_come_in_the_order_of_the_file() -> None:
    first, second = sources_of(WHOLE)
    assert (first.name, first.mode, first.poll_ms, first.time_zone) == ("shop", "push", 5, "-03:30")
    assert first.tables == (
        FollowedTable(name="posts"),
        FollowedTable(name="users", columns=("id", "name"), where="deleted = 0"),
    )
    assert first.table("users") is first.tables[1] and first.table("entries") is None
    assert (second.name, second.mode, second.outbox) == ("blog", "outbox", "tcsql_outbox")
    assert second.password_file == "blog.password"


@pytest.mark.parametrize("text", [None, "", "port = 3888\n"])
def test_a_file_without_sources_has_none(text: str | None) -> None:
    assert sources_of(text) == ()


def test_every_option_can_be_set_and_says_why_it_is_there() -> None:
    for name, option in OPTIONS.items():
        assert option.metadata["reason"] and option.metadata["reason"][-1] != ".", name
    for name, option in TABLE_OPTIONS.items():
        assert option.metadata["reason"], name
    numbers = [name for name, option in OPTIONS.items() if type(option.default) is int]
    assert numbers and all(OPTIONS[name].metadata["unit"] or name in ("copy_rows", "server_id") for name in numbers)
    for name in numbers:
        low, high = OPTIONS[name].metadata["low"], OPTIONS[name].metadata["high"]
        for value in (low, high):
            [found] = sources_of(shop(f"{name} = {value}"))
            assert getattr(found, name) == value
        for value in (low - 1, high + 1):
            with pytest.raises(SetupError, match=name):
                sources_of(shop(f"{name} = {value}"))


def test_defaults_are_those_of_the_fields() -> None:
    [found] = sources_of(shop())
    assert found == SourceSettings(
        name="shop", url="mysql://a@h/d", tables=(FollowedTable(name="posts"), FollowedTable(name="users"))
    )


def test_a_password_in_the_url_is_not_shown() -> None:
    [first, _] = sources_of(WHOLE)
    assert "word" in first.url and "word" not in repr(first) + str(first) + f"{first!r:>9}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[source.shop]\nurl = ", "not TOML"),
        ("source = 3", "a source has a name"),
        ('[source]\nurl = "mysql://a@h/d"', "a source has a name"),
        ('[source."my shop"]\nurl = "x"', "'my shop' is no name"),
        ('[source.shop]\ntables = ["t"]', "lacks url"),
        ('[source.shop]\nurl = "mysql://a@h/d"', "lacks tables"),
        (shop("tables = []"), "tables is a list of names"),
        (shop('tables = "posts"'), "tables is a list of names"),
        (shop("tables = [1]"), "tables is a list of names"),
        (shop('tables = ["a", "a"]'), "listed twice"),
        (shop('tables = ["a-b"]'), "'a-b' is no name"),
        (shop('tables = ["' + "a" * 65 + '"]'), "is no name"),
        (shop("poll_ms = 1.5"), "poll_ms is a whole number, 1 to 60000"),
        (shop("poll_ms = true"), "poll_ms is a whole number"),
        (shop('poll_ms = "5"'), "poll_ms is a whole number"),
        (shop("mode = 5"), "mode is a text"),
        (shop('mode = "binlogs"'), f"mode is {' or '.join(MODES)}"),
        (shop('cascades = "ignore"'), "cascades is refuse or audit"),
        (shop('password_env = "a\\u0000b"'), "password_env is a text"),
        (shop('password_env = "A"', 'password_file = "b"'), "password_file and password_env"),
        (shop('time_zone = "+25:00"'), "time_zone is not one of MySQL's"),
        (shop('time_zone = "\'; DROP"'), "time_zone is not one of MySQL's"),
        (shop('outbox = "a b"'), "'a b' is no name"),
        (shop('outbox = "posts"'), "posts is the outbox and among its tables"),
        (shop("pol_ms = 5"), "unknown key 'pol_ms'"),
        (shop(table="[source.shop.table]\nposts = 3"), "table is a section"),
        (shop(table="[source.shop.table.post]\nwhere = 'a'"), "post has a section, but is not among its tables"),
        (shop(table="[source.shop.table.posts]\ncolumn = ['a']"), "table.posts] has an unknown key 'column'"),
        (shop(table="[source.shop.table.posts]\ncolumns = []"), "columns is a list of names"),
        (shop(table="[source.shop.table.posts]\ncolumns = ['a', 'a']"), "names a column twice"),
        (shop(table="[source.shop.table.posts]\nwhere = 5"), "where is a text"),
        (shop() + '[source.blog]\nurl = "mysql://a@h/e"\ntables = ["users"]', "users is followed by shop and by blog"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(text: str, told: str) -> None:
    with pytest.raises(SetupError) as caught:
        sources_of(text, "conf/own.toml")
    assert told in caught.value.message
    assert caught.value.message.startswith("conf/own.toml")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (shop("pol_ms = 5"), 'did you mean "poll_ms"?'),
        (shop('mode = "outbx"'), 'did you mean "outbox"?'),
        (shop(table="[source.shop.table.post]"), 'did you mean "posts"?'),
    ],
)
def test_a_slip_of_the_pen_is_told_what_was_meant(text: str, hint: str) -> None:
    with pytest.raises(SetupError) as caught:
        sources_of(text)
    assert caught.value.hint == hint
