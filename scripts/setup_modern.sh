#!/usr/bin/env bash
# Creates .venv-modern: the newest PyTorch, NumPy and OpenCV that MMPose works with, and sgpose.
# What is there is left alone.
#   PYTHON=/path/to/python3.12 scripts/setup_modern.sh
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3.12}
VENV=$PWD/.venv-modern
export PATH=$VENV/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1
unset PYTHONHOME PYTHONPATH

fail() { echo "setup: $*" >&2; exit 1; }
install() { "$VENV/bin/python" -m pip install --quiet --no-input "$@" </dev/null; }
satisfied() { "$VENV/bin/python" scripts/satisfied.py "$@"; }

# mmcv's cache of built wheels does not know for which PyTorch one was built.
install_mmcv() {
  CFLAGS="-g0 -O1" CXXFLAGS="-g0 -O1" MAX_JOBS=${MAX_JOBS:-$(nproc)} \
    MMCV_WITH_OPS=1 FORCE_CUDA=0 CUDA_VISIBLE_DEVICES= \
    install --no-cache-dir --no-build-isolation -r requirements/mmcv.txt
}

if ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' 2>/dev/null ||
    fail "the modern set needs CPython 3.12, '$PYTHON' is not: set PYTHON=/path/to/python3.12"
  "$PYTHON" -m venv --clear "$VENV"
fi
if ! satisfied requirements/{modern,tests}.txt; then
  echo "==> Installing PyTorch and MMPose's neighbours: 3 GB to fetch, 5 GB of disk"
  install --no-cache-dir -r requirements/modern.txt -r requirements/tests.txt
fi
satisfied requirements/mmpose.txt || install --no-deps -r requirements/mmpose.txt
if ! satisfied requirements/mmcv.txt; then
  echo "==> Installing mmcv: seconds where PIP_FIND_LINKS offers a wheel, else a build with g++"
  install_mmcv || fail "no mmcv wheel was found and its build failed (see above):" \
    "set PIP_FIND_LINKS to a folder with a wheel of mmcv 2.1.0 for CPython 3.12 and this PyTorch"
fi
"$VENV/bin/python" -c 'import mmcv.ops' ||
  fail "mmcv's operators do not load beside this PyTorch: $VENV/bin/pip uninstall -y mmcv," \
    "then run this again with PIP_FIND_LINKS set to a folder with a wheel built for it"
[ -e "$VENV/set-up" ] || install --no-deps --no-build-isolation --editable .
touch "$VENV/set-up"
