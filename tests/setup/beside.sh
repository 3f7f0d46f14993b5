#!/bin/bash
# Unpacks packages of another Debian suite beside the system, with the C library they were built for.
#
#   beside.sh SUITE DIRECTORY PROGRAM[,PROGRAM]... PACKAGE...
#
# Each program gets a wrapper, where the package has the program (PostgreSQL looks for its files from
# there) and in DIRECTORY/bin. No source is added, nothing is installed, root is not needed: apt
# resolves and downloads into a directory of its own, from the mirror this machine uses.
set -euo pipefail
suite=$1 directory=$2 programs=$3
shift 3

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The mirror is that of the first source of this machine's own release.
. /etc/os-release
mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Identifier: Packages' |
    awk -v own="$VERSION_CODENAME" '$1 == own || $1 ~ /^(old)?stable$/ { print $2; exit }')
[ -n "$mirror" ] || { echo "apt has no source for $VERSION_CODENAME" >&2; exit 1; }

mkdir -p "$work"/lists/partial "$work"/cache/archives/partial
: >"$work/status"
cat >"$work/other.sources" <<SOURCE
Types: deb
URIs: $mirror
Suites: $suite
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCE
apt() {
    apt-get -qq -o Dir::Etc::sourcelist="$work/other.sources" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::preferencesparts=/dev/null -o Dir::State::lists="$work/lists" \
        -o Dir::State::status="$work/status" -o Dir::State::extended_states="$work/extended" \
        -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none \
        -o Acquire::Retries=5 "$@"
}
apt update
apt install -y --download-only --no-install-recommends "$@" >/dev/null

# Unpack under another name: what has the final name is complete.
unfinished=$directory.unfinished
rm -rf "$unfinished"
mkdir -p "$unfinished/bin"
for package in "$work"/cache/archives/*.deb; do
    case ${package##*/} in
        perl* | libperl* | libpython* | gcc-* | dpkg* | debconf*) ;;    # only their maintainer scripts want these
        *) dpkg -x "$package" "$unfinished" ;;
    esac
done
rm -rf "$unfinished"/usr/share/{doc,man,locale,lintian} "$unfinished"/usr/lib/*/gconv

loader=$(find "$unfinished" -name 'ld-linux-x86-64.so.2' | head -n 1)
loader=${loader#"$unfinished"}
[ -n "$loader" ] || { echo "no C library among the packages" >&2; exit 1; }
for program in ${programs//,/ }; do
    found=$(find "$unfinished/usr" -type f -name "$program" -perm -u+x | head -n 1)
    [ -n "$found" ] || { echo "no $program among the packages" >&2; exit 1; }
    found=${found#"$unfinished"}
    mv "$unfinished$found" "$unfinished$found.real"
    cat >"$unfinished$found" <<WRAPPER
#!/bin/sh
exec $directory$loader --library-path $directory/usr/lib/x86_64-linux-gnu --argv0 $directory$found $directory$found.real "\$@"
WRAPPER
    chmod 755 "$unfinished$found"
    ln -s "$directory$found" "$unfinished/bin/$program"
done
rm -rf "$directory"
mv "$unfinished" "$directory"
