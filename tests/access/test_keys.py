"""Keys as values: tokens, who holds one, rotation, limits that contradict themselves, and the text of their file."""

from __future__ import annotations

import hmac
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcsql.access import keys as keys_module
from tcsql.access.keys import Key, Keys, State, changes, check, digest_of, parts_of, revoked, rotated, token_of
from tcsql.access.keytext import FORMAT, plain, ring_of, text_of
from tcsql.access.scopes import Scope
from tcsql.errors import SetupError

NOW = 1_800_000_000
TOKEN = token_of("3f9a0c12", bytes(range(32)))
OTHER = token_of("3f9a0c12", bytes(range(1, 33)))
READER = Key(id="3f9a0c12", name="web", sha256=digest_of(TOKEN), scopes=frozenset({Scope.READ}), made=NOW)
LIMITED = replace(
    READER,
    tables=frozenset({"posts", "users"}),
    columns=(("posts", ("id", "title")),),
    filters=(("posts", "tenant:NUMEQ:5"), ("users", "hidden:NUMEQ:0|pkey:NUMGT:3")),
    rate=2.5,
    burst=10,
    max_rows=50,
    budget_rows=10_000,
    expires=NOW + 60,
    rotated=NOW,
    old_sha256=digest_of(OTHER),
    old_until=NOW + 30,
)


def test_a_token_is_256_random_bits_behind_an_id() -> None:
    assert parts_of(TOKEN) == ("3f9a0c12", TOKEN[15:])
    assert len(TOKEN) == 58
    assert len({token_of("00000000", bytes([number]) + bytes(31)) for number in range(256)}) == 256
    for wrong in (
        "",
        TOKEN + "A",
        TOKEN[:-1],
        TOKEN + "\n",
        TOKEN.upper(),
        " " + TOKEN,
        TOKEN.replace("_", "-"),
        "é" * 58,
    ):
        assert parts_of(wrong) is None, wrong


def test_whoever_has_the_secret_holds_the_key_and_nobody_else() -> None:
    ring = Keys([READER])
    assert ring.holder(TOKEN, NOW) is READER
    for wrong in (OTHER, token_of("00000000", bytes(range(32))), TOKEN[:-1] + "A", "", "x" * 10_000):
        assert ring.holder(wrong, NOW) is None, wrong


@given(st.text(max_size=80))
def test_no_text_holds_a_key(text: str) -> None:
    assert Keys([READER]).holder(text, NOW) is None


def test_all_bits_of_a_secret_count() -> None:
    secret = TOKEN[15:]
    for place in range(len(secret)):
        for letter in "Ab9-_":
            if secret[place] != letter:
                changed = TOKEN[: 15 + place] + letter + secret[place + 1 :]
                assert Keys([READER]).holder(changed, NOW) is None, changed


def test_digests_are_compared_in_constant_time_whether_the_key_exists_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []

    def counted(one: bytes, other: bytes) -> bool:
        compared.append(len(one) + len(other))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(keys_module, "hmac", type("hmac", (), {"compare_digest": staticmethod(counted)}))
    ring = Keys([READER])
    for token in (TOKEN, OTHER, token_of("00000000", bytes(32))):
        ring.holder(token, NOW)
    assert compared == [64] * 6


def test_an_expired_key_is_still_its_holders_and_a_revoked_one_nobodys() -> None:
    expiring = replace(READER, expires=NOW + 10)
    assert [expiring.state(NOW + s) for s in (0, 9.999, 10)] == [State.LIVE, State.LIVE, State.EXPIRED]
    assert Keys([expiring]).holder(TOKEN, NOW + 11) is expiring
    gone = revoked(expiring, NOW + 1)
    assert gone.state(NOW + 2) is State.REVOKED
    assert Keys([gone]).holder(TOKEN, NOW + 2) is None
    assert revoked(gone, NOW + 50) == gone


def test_both_secrets_work_during_the_grace_and_then_the_new_one() -> None:
    new = rotated(READER, digest_of(OTHER), NOW, 60)
    ring = Keys([new])
    assert [ring.holder(TOKEN, NOW + s) is new for s in (0, 59, 60, 61)] == [True, True, False, False]
    assert all(ring.holder(OTHER, NOW + s) is new for s in (0, 59, 60, 61))
    assert [ring.ended(NOW + s) for s in (59, 60)] == [0, 1]
    at_once = Keys([rotated(READER, digest_of(OTHER), NOW, 0)])
    assert at_once.holder(TOKEN, NOW) is None
    assert at_once.holder(OTHER, NOW) is not None
    with pytest.raises(SetupError, match="revoked"):
        rotated(revoked(READER, NOW), digest_of(OTHER), NOW, 0)


def test_revoking_ends_the_old_secret_as_well() -> None:
    gone = revoked(rotated(READER, digest_of(OTHER), NOW, 60), NOW + 1)
    assert all(Keys([gone]).holder(token, NOW + 2) is None for token in (TOKEN, OTHER))


def test_a_key_is_found_by_name_or_id_and_a_name_is_free_again_when_it_is_revoked() -> None:
    second = replace(READER, id="00000001")
    ring = Keys([revoked(READER, NOW), second])
    assert ring.named("web") is second
    assert ring.named("3f9a0c12").revoked == NOW
    with pytest.raises(SetupError) as caught:
        ring.named("wev")
    assert caught.value.hint == 'did you mean "web"?'
    with pytest.raises(SetupError, match="two keys have the name web"):
        Keys([READER, second])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": ""}, "no name"),
        ({"name": "a b"}, "no name"),
        ({"name": "x" * 65}, "no name"),
        ({"name": "web\n"}, "no name"),
        ({"scopes": frozenset()}, "no scope"),
        ({"tables": frozenset()}, "no table"),
        ({"tables": frozenset({"a.b"})}, "not the name of a table"),
        ({"tables": frozenset({"posts"}), "scopes": frozenset({Scope.ADMIN})}, "admin"),
        ({"tables": frozenset({"posts"}), "scopes": frozenset({Scope.PUBLISHED})}, "published queries only"),
        ({"filters": (("posts", "a:NUMEQ:1"),)}, "not among its tables"),
        ({"tables": frozenset({"posts"}), "filters": (("users", "a:NUMEQ:1"),)}, "not among its tables"),
        ({"tables": frozenset({"posts"}), "filters": (("posts", ""),)}, "empty filter"),
        ({"tables": frozenset({"t"}), "filters": (("t", "a:NUMEQ:1"), ("t", "b:NUMEQ:1"))}, "twice"),
        ({"tables": frozenset({"posts"}), "columns": (("posts", ()),)}, "must be named"),
        ({"tables": frozenset({"posts"}), "columns": (("posts", ("id", "id")),)}, "each once"),
        ({"tables": frozenset({"posts"}), "columns": (("posts", ("i d",)),)}, "not the name"),
        ({"columns": (("posts", ("id",)),)}, "not among its tables"),
        ({"rate": 0.0}, "rate"),
        ({"rate": float("nan")}, "rate"),
        ({"rate": float("inf")}, "rate"),
        ({"burst": 5.0}, "no rate"),
        ({"max_rows": 0}, "max_rows"),
        ({"budget_rows": -1}, "budget_rows"),
    ],
)
def test_limits_that_contradict_themselves_are_refused(wrong: dict[str, Any], said: str) -> None:
    key = replace(READER, **wrong)
    with pytest.raises(SetupError, match=said):
        check(key)
    with pytest.raises(SetupError, match=said):
        Keys([key])


def test_rights_are_what_the_key_says() -> None:
    rights = LIMITED.rights
    assert rights.scopes == {Scope.READ, Scope.PUBLISHED}
    assert (rights.tables, rights.columns, rights.filters) == (LIMITED.tables, LIMITED.columns, LIMITED.filters)
    assert (rights.max_rows, rights.budget_rows) == (50, 10_000)
    assert replace(READER, scopes=frozenset({Scope.ADMIN})).rights.scopes == frozenset(Scope)
    assert hash(rights) == hash(replace(LIMITED, id="00000001", name="other").rights), "equal rights share a view"


def test_what_was_done_to_a_ring_is_told() -> None:
    second = replace(READER, id="00000001", name="cron")
    before = Keys([READER, second])
    after = Keys([revoked(READER, NOW), rotated(second, digest_of(OTHER), NOW, 0), replace(READER, id="00000002")])
    assert [(what, key.id) for what, key in changes(before, after)] == [
        ("revoked", "3f9a0c12"),
        ("rotated", "00000001"),
        ("made", "00000002"),
    ]
    assert [what for what, _ in changes(before, Keys([replace(READER, max_rows=3)]))] == ["changed", "removed"]
    assert changes(None, Keys([READER])) == [("made", READER)]
    assert changes(before, before) == []


def test_no_secret_and_no_digest_is_printed() -> None:
    for text in (repr(LIMITED), json.dumps(plain(LIMITED)), repr(Keys([LIMITED]))):
        assert LIMITED.sha256.hex() not in text
        assert TOKEN[15:] not in text
        assert "sha256" not in text


# -- the text of the file ----------------------------------------------------------------------------------------------


def test_a_ring_comes_back_from_its_text_whole() -> None:
    ring = Keys([LIMITED, replace(READER, id="00000001", name="cron"), revoked(replace(READER, id="00000002"), NOW)])
    assert ring_of(text_of(ring)) == ring
    assert ring_of(text_of(Keys())) == Keys()
    assert TOKEN[15:] not in text_of(ring)


def entry(**changed: object) -> dict[str, object]:
    found: dict[str, object] = json.loads(text_of(Keys([LIMITED])))["keys"][0]
    return {name: value for name, value in (found | changed).items() if value is not ...}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"filter": {"posts": "a:NUMEQ:1"}}, r"keys\[0\].filter is not known"),
        ({"id": "3F9A0C12"}, r"keys\[0\].id should be 8"),
        ({"id": ...}, "has no id"),
        ({"made": ...}, "has no made"),
        ({"sha256": "00"}, "sha256 should be 64"),
        ({"sha256": ...}, "has no sha256"),
        ({"scopes": []}, "a list of scopes"),
        ({"scopes": ["read", "root"]}, "a list of scopes"),
        ({"scopes": "read"}, "a list of scopes"),
        ({"tables": []}, "a list of tables"),
        ({"tables": ["posts", "posts"]}, "each once"),
        ({"tables": None}, "a list of tables"),
        ({"filters": {}}, "conditions by table"),
        ({"filters": {"posts": 5}}, "conditions by table"),
        ({"columns": {"posts": []}}, "a list of columns"),
        ({"rate": "2"}, "a number"),
        ({"rate": True}, "a number"),
        ({"max_rows": 2.5}, "a whole number"),
        ({"expires": "soon"}, "a date"),
        ({"expires": 1_900_000_000}, "a text"),
        ({"old_until": ...}, "belong together"),
        ({"tables": ["users"]}, "not among its tables"),
        ({"name": 7}, "a text"),
    ],
)
def test_an_entry_that_is_not_as_we_write_it_is_refused_with_its_place(changed: dict[str, object], said: str) -> None:
    text = json.dumps({"format": FORMAT, "keys": [entry(**changed)]})
    with pytest.raises(SetupError, match=said) as caught:
        ring_of(text, "keys.json")
    assert "keys.json" in caught.value.message
    assert LIMITED.sha256.hex() not in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"format": 1}',
        '{"format": "1", "keys": []}',
        '{"format": true, "keys": []}',
        '{"format": 0, "keys": []}',
        '{"format": 1, "keys": {}}',
        '{"format": 1, "keys": [1]}',
        '{"format": 1, "keys": [], "more": 1}',
        '{"format": 1, "format": 1, "keys": []}',
        '{"format": 1, "keys": [{"rate": NaN}]}',
        "[" * 100_000,
        text_of(Keys([LIMITED]))[:-20],
    ],
)
def test_a_damaged_text_is_refused(text: str) -> None:
    with pytest.raises(SetupError) as caught:
        ring_of(text)
    assert caught.value.exit_code == 2


def test_a_name_that_stands_twice_in_an_entry_is_refused() -> None:
    text = text_of(Keys([READER])).replace('"scopes"', '"max_rows": 5, "max_rows": 50000, "scopes"')
    with pytest.raises(SetupError, match="twice"):
        ring_of(text)


def test_a_newer_format_is_refused_by_its_number() -> None:
    with pytest.raises(SetupError, match="newer TCSQL, format 2"):
        ring_of('{"format": 2, "keys": [], "new": "things"}')
