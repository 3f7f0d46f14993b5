# Where things are kept that are made or fetched once; src/demo/servers/place.rs says the same.

cache() {
    if [ -n "${CROSSFADE_CACHE:-}" ]; then
        echo "$CROSSFADE_CACHE"
    elif [ "$(id -u)" = 0 ]; then
        echo /var/cache/crossfade            # not below /root, which the servers' users may not enter
    else
        echo "${XDG_CACHE_HOME:-$HOME/.cache}/crossfade"
    fi
}

lint_home() { echo "$(cache)/lint"; }
mysql_home() { echo "${CROSSFADE_MYSQL:-$(cache)/mysql}"; }
postgres18_home() { echo "${CROSSFADE_POSTGRES18:-$(cache)/postgres18}"; }
prometheus_home() { echo "${CROSSFADE_PROMETHEUS:-$(cache)/prometheus}"; }
