#!/bin/sh
# The real programs that the tests compare with, from Debian's packages: MariaDB (never started as a service), Tokyo
# Cabinet's table tool, and curl, with which the documented requests are made; and a C compiler for mysql_udf_sync.
# Does nothing when they are there.
set -eu
PATH="$PATH:/usr/sbin"
missing=""
command -v mariadbd >/dev/null || missing="$missing mariadb-server-core"
command -v mariadb >/dev/null || missing="$missing mariadb-client-core"
command -v mariadb-dump >/dev/null || missing="$missing mariadb-client"
command -v curl >/dev/null || missing="$missing curl"
command -v tctmgr >/dev/null || missing="$missing tokyocabinet-bin"
[ "${TCSQL_TEST_PROFILE:-}" != torture ] || command -v sysbench >/dev/null || missing="$missing sysbench"
[ "${TCSQL_TEST_PROFILE:-}" != torture ] || command -v chromium >/dev/null || missing="$missing chromium"
command -v cc >/dev/null || missing="$missing gcc"
[ -e /usr/include/stdio.h ] || missing="$missing libc6-dev"
command -v make >/dev/null || missing="$missing make"
[ -n "$missing" ] || exit 0
echo "installing$missing"
as_root=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "needed:$missing (run as root, or install sudo)" >&2; exit 2; }
    as_root="sudo"
fi
$as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
# shellcheck disable=SC2086 # one word a package
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
