#!/bin/sh
# Puts the built OHIF viewer (MIT licence) into a folder: sh deploy/ohif/fetch.sh FOLDER
# From npm's package @ohif/app, whose dist/ is ready to be served; nothing is installed or built. The checksum is
# pinned here, so that what is served is what was tested. Fetched once: a folder that has this version is left alone.
set -eu
version="3.13.2"
sha512="5997719a9986eeba85816f5924b71b82bdd70ad2e2d4a0cd3e831a798e4f3deea3e06e1f8c48e393271933a0ba664d85f3b04ac457e9abe8dde715d907d13c10"
folder="$1"
[ "$(cat "$folder/.version" 2>/dev/null)" = "$version" ] && exit 0
if ! command -v npm >/dev/null; then
    echo "fetching OHIF needs npm (on Debian and Ubuntu: apt-get install npm)" >&2
    exit 1
fi
parent="$(dirname "$folder")"
mkdir -p "$parent"
work="$(mktemp -d "$parent/fetching-ohif.XXXXXX")"
trap 'rm -rf "$work"' EXIT
echo "fetching OHIF $version (50 MB)" >&2
(cd "$work" && npm pack --silent "@ohif/app@$version" >/dev/null)
package="$work/ohif-app-$version.tgz"
if ! echo "$sha512  $package" | sha512sum --check --status; then
    echo "@ohif/app $version from npm does not have the checksum that deploy/ohif/fetch.sh expects" >&2
    exit 1
fi
tar --extract --gzip --file "$package" --directory "$work" --exclude '*.map' package/dist package/LICENSE
cp "$work/package/LICENSE" "$work/package/dist/LICENSE"
echo "$version" >"$work/package/dist/.version"
rm -rf "$folder"
mv "$work/package/dist" "$folder"
