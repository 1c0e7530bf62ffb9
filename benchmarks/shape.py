"""The rows that everything is measured on: posts of a forum, 120 to 124 bytes of JSON each.

Deterministic: the same count gives the same rows. ``id`` counts from 1, ``dateline`` rises by 20 seconds on average,
``uid`` takes one value for every ten rows (100,000 at 1 M rows), ``idtype`` one of eight values whose frequencies
fall like 1/n, ``hits`` is small mostly. Cost: about 2 us a row.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tcsql.engine.change import CreateTable
from tcsql.engine.schema import TableSchema
from tcsql.sql import changes_of

TABLE: Final = "posts"
DDL: Final = """CREATE TABLE `posts` (
  `id` int(10) unsigned NOT NULL AUTO_INCREMENT,
  `uid` int(10) unsigned NOT NULL,
  `dateline` int(10) unsigned NOT NULL,
  `idtype` varchar(20) NOT NULL,
  `title` varchar(80) NOT NULL,
  `hits` int(10) unsigned NOT NULL DEFAULT 0,
  PRIMARY KEY (`id`),
  KEY `uid` (`uid`),
  KEY `idtype_dateline` (`idtype`,`dateline`),
  KEY `dateline` (`dateline`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"""

KINDS: Final = ("blogid", "picid", "threadid", "albumid", "pollid", "eventid", "shareid", "doingid")
_FREQUENCIES: Final = tuple(1 / rank for rank in range(1, len(KINDS) + 1))
FIRST_DATELINE: Final = 1_262_304_000
_CHUNK: Final = 10_000
_WORDS: Final = (
    "about", "after", "again", "bread", "cloud", "dream", "early", "first", "green", "house", "light",
    "music", "night", "ocean", "paper", "quiet", "river", "stone", "table", "water", "world", "young",
)  # fmt: skip


class Post(NamedTuple):
    id: int
    uid: int
    dateline: int
    idtype: str
    title: str
    hits: int


def uid_values(count: int) -> int:
    """How many uids a table of that many rows has."""
    return max(1, count // 10)


def posts(count: int, first_id: int = 1) -> Iterator[Post]:
    """The rows in the order of their keys. ``first_id``: rows that come after ``first_id - 1`` others."""
    draw = random.Random(first_id)
    dateline = FIRST_DATELINE + 20 * first_id
    uids = uid_values(count)
    for start in range(0, count, _CHUNK):
        size = min(_CHUNK, count - start)
        kinds = draw.choices(KINDS, _FREQUENCIES, k=size)
        steps = draw.choices(range(41), k=size)
        hits = draw.choices(range(1, 2_000), k=size)
        words = [draw.choices(_WORDS, k=size) for _ in range(6)]
        values = draw.choices(range(uids), k=size)
        for place in range(size):
            dateline += steps[place]
            title = " ".join(column[place] for column in words)
            post_id = first_id + start + place
            yield Post(post_id, values[place], dateline, kinds[place], title, hits[place])


def to_json(post: Post) -> bytes:
    """A row as the store keeps it and as NDJSON has it."""
    return b'{"id":%d,"uid":%d,"dateline":%d,"idtype":"%b","title":"%b","hits":%d}' % (
        post.id, post.uid, post.dateline, post.idtype.encode(), post.title.encode(), post.hits
    )  # fmt: skip


def schema() -> TableSchema:
    """The table as TCSQL reads it from its DDL."""
    (change,) = changes_of(DDL, lambda name: None)
    assert isinstance(change, CreateTable)
    return change.schema


def write_ndjson(path: Path, count: int) -> None:
    with path.open("wb") as file:
        file.writelines(to_json(post) + b"\n" for post in posts(count))


#: mysqldump begins a new INSERT when one reaches its buffer (--net-buffer-length), 1 MB.
_INSERT_BYTES: Final = 1_000_000
_DUMP_HEAD: Final = f"""-- MySQL dump 10.13  Distrib 8.0.36, for Linux (x86_64)
--
-- Host: localhost    Database: forum
-- ------------------------------------------------------
/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;
/*!50503 SET NAMES utf8mb4 */;
/*!40014 SET @OLD_FOREIGN_KEY_CHECKS=@@FOREIGN_KEY_CHECKS, FOREIGN_KEY_CHECKS=0 */;

DROP TABLE IF EXISTS `{TABLE}`;
{DDL};

LOCK TABLES `{TABLE}` WRITE;
/*!40000 ALTER TABLE `{TABLE}` DISABLE KEYS */;
"""
_DUMP_TAIL: Final = f"""/*!40000 ALTER TABLE `{TABLE}` ENABLE KEYS */;
UNLOCK TABLES;
/*!40014 SET FOREIGN_KEY_CHECKS=@OLD_FOREIGN_KEY_CHECKS */;
-- Dump completed
"""


def write_dump(path: Path, count: int) -> None:
    """The table as mysqldump prints it: DDL, and INSERTs of many rows."""
    with path.open("w", encoding="utf-8") as file:
        file.write(_DUMP_HEAD)
        size = 0
        for post in posts(count):
            values = f"({post.id},{post.uid},{post.dateline},'{post.idtype}','{post.title}',{post.hits})"
            if size == 0:
                file.write(f"INSERT INTO `{TABLE}` VALUES {values}")
            else:
                file.write("," + values)
            size += len(values) + 1
            if size >= _INSERT_BYTES:
                file.write(";\n")
                size = 0
        if size:
            file.write(";\n")
        file.write(_DUMP_TAIL)
