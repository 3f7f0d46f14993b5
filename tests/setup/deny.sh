#!/bin/bash
# Checks what we depend on: licences, sources, doubled and wild versions, and known vulnerabilities.
#
# The list of vulnerabilities is kept outside any package registry. Where it cannot be fetched, that is
# said, and fails nothing unless DENY_ADVISORIES=1.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/setup/places.sh

deny() { "$(lint_home)/bin/cargo-deny" --config .deny.toml "$@"; }

for manifest in Cargo.toml tests/model/Cargo.toml; do
    deny --manifest-path "$manifest" check licenses bans sources
done
if GIT_TERMINAL_PROMPT=0 deny fetch db; then
    for manifest in Cargo.toml tests/model/Cargo.toml; do
        deny --manifest-path "$manifest" check --disable-fetch advisories
    done
elif [ "${DENY_ADVISORIES:-}" = 1 ]; then
    echo "the list of vulnerabilities could not be fetched" >&2
    exit 1
else
    echo "NOT CHECKED: known vulnerabilities and yanked versions; their list could not be fetched" >&2
fi
