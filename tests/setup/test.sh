#!/bin/bash
# Runs every test, and ends by saying what was not tested.
#
#   CROSSFADE_WITHOUT="mysql postgres18" tests/setup/test.sh [argument of cargo test]...
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/setup/places.sh

left_out=${CROSSFADE_WITHOUT:-}
without() { case ",${left_out//[ ;]/,}," in *,"$1",*) true ;; *) false ;; esac; }

# What can be left out, and what is missing where it is not.
needed() {
    if ! without "$1" && ! [ -x "$3" ]; then
        echo "$2 is missing: \`make setup\` brings it, \`make test WITHOUT=$1\` leaves it out" >&2
        exit 1
    fi
}
needed mysql MySQL "$(mysql_home)/bin/mysqld"
needed postgres18 "PostgreSQL 18" "$(postgres18_home)/bin/postgres"

export CROSSFADE_WITHOUT=$left_out CROSSFADE_NOT_TESTED=$PWD/target/not-tested
mkdir -p target
: >"$CROSSFADE_NOT_TESTED"
status=0
# The protocol's model, a package of its own: exhaustive within small bounds, in a minute.
CARGO_TARGET_DIR=target/model cargo test --locked --manifest-path tests/model/Cargo.toml --lib "$@" ||
    status=$?
# Named, so that the suite with the tests is the last to report; there are no doc tests.
cargo test --lib --bins --test main "$@" || status=$?

echo
if [ -s "$CROSSFADE_NOT_TESTED" ]; then
    echo "NOT TESTED:"
    sort -u "$CROSSFADE_NOT_TESTED" | sed 's/^/  /'
elif [ -n "$left_out" ]; then
    echo "NOT TESTED: what needs $left_out"
else
    echo "Nothing was left out."
fi
exit $status
