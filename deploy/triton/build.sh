#!/bin/sh
# Builds a real Triton server for the CPU, without docker: sh deploy/triton/build.sh FOLDER PYTHON
# From the wheel nvidia-pytriton, which carries tritonserver 2.51 with the Python backend; its own Python API is not
# used, so it is installed without its dependencies. Its backend is built for NumPy 1: with NumPy 2 every tensor comes
# back empty and no error is told, hence an environment of its own. For tests and for serving on a CPU.
set -eu
folder="$1"
python="$2"
root="$(cd "$(dirname "$0")/../.." && pwd)"
openvino="$(grep -E '^openvino(-telemetry)?==' "$root/constraints.txt")"
wanted="$(printf '%s\n' nvidia-pytriton==0.7.0 numpy==1.26.4 "$openvino" "$root" "$("$python" --version)")"
[ "$(cat "$folder/.built" 2>/dev/null)" = "$wanted" ] && exit 0
echo "building a Triton server in $folder (60 MB to fetch)" >&2
rm -rf "$folder"
mkdir -p "$folder"
folder="$(cd "$folder" && pwd)"
"$python" -m venv "$folder/venv"
pip="$folder/venv/bin/python -m pip --disable-pip-version-check --quiet"
$pip install --no-deps nvidia-pytriton==0.7.0
# shellcheck disable=SC2086 - several requirements on purpose
$pip install --no-deps numpy==1.26.4 $openvino
packages="$("$folder/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
echo "$root" >"$packages/node.pth" # model.py imports the package from the checkout
server="$packages/pytriton/tritonserver"
stub="$server/python_backend_stubs/$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')/triton_python_backend_stub"
if [ ! -e "$stub" ]; then
    echo "this Triton has no Python backend for $("$python" --version)" >&2
    exit 1
fi
mkdir -p "$folder/backends/python"
ln -s "$stub" "$server/backends/python/libtriton_python.so" "$server/backends/python/triton_python_backend_utils.py" \
    "$folder/backends/python/"
ln -s "$server/bin/tritonserver" "$folder/tritonserver"
printf '%s\n' "$wanted" >"$folder/.built"
