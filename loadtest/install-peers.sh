#!/bin/sh
# What TCSQL is measured beside, from Debian's packages: nginx with its Lua module and Redis client, Redis, MariaDB, and
# wrk, which makes the load. Nothing is started as a service. Does nothing when all of it is there.
set -eu
PATH="$PATH:/usr/sbin"
missing=""
command -v nginx >/dev/null || missing="$missing nginx"
[ -e /usr/lib/nginx/modules/ngx_http_lua_module.so ] || missing="$missing libnginx-mod-http-lua"
[ -e /usr/share/lua/5.1/nginx/redis.lua ] || missing="$missing lua-nginx-redis"
command -v redis-server >/dev/null || missing="$missing redis-server"
command -v redis-cli >/dev/null || missing="$missing redis-tools"
command -v mariadbd >/dev/null || missing="$missing mariadb-server-core"
command -v mariadb >/dev/null || missing="$missing mariadb-client-core mariadb-client"
command -v wrk >/dev/null || missing="$missing wrk"
[ -n "$missing" ] || exit 0
echo "installing$missing"
as_root=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "needed:$missing (run as root, or install sudo)" >&2; exit 2; }
    as_root="sudo"
fi
$as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
# RUNLEVEL=1: the packages' own scripts start no service
# shellcheck disable=SC2086 # one word a package
$as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $missing
