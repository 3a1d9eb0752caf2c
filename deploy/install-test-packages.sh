#!/bin/sh
# Installs what the tests and the viewer talk to, on Debian and Ubuntu. The node itself needs none of them.
set -eu
packages="dcmtk orthanc orthanc-dicomweb orthanc-python dicom3tools nginx strace"
# The audit record repository of the tests, with TLS.
packages="$packages rsyslog rsyslog-openssl"
missing=""
for package in $packages; do
    dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -q '^installed$' || missing="$missing $package"
done
# These count wherever they come from: many machines have a newer npm, or Chrome with its driver.
command -v npm >/dev/null || missing="$missing npm"
command -v chromium >/dev/null || command -v google-chrome >/dev/null || missing="$missing chromium"
command -v chromedriver >/dev/null || missing="$missing chromium-driver"
[ -z "$missing" ] && exit 0
command="apt-get update && apt-get install --yes --no-install-recommends$missing"
if ! command -v apt-get >/dev/null; then
    echo "the tests need$missing: install them with your system's package manager" >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    echo "the tests need$missing; as root: $command" >&2
    exit 1
fi
echo "installing$missing" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet=2
# shellcheck disable=SC2086 - a list of words on purpose
apt-get install --yes --quiet=2 --no-install-recommends $missing >/dev/null
