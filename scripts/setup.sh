#!/usr/bin/env bash
# Creates .venv and installs into it the pinned packages of requirements/ and sgpose itself, editable.
# What is there is left alone, so that running it again is cheap and goes on where it was cut short.
#   PYTHON=/path/to/python3.11 scripts/setup.sh
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3.11}
VENV=$PWD/.venv
export PATH=$VENV/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1
unset PYTHONHOME PYTHONPATH

fail() { echo "setup: $*" >&2; exit 1; }

step() { # step "what it does, how long it takes" command...
  local start=$SECONDS
  echo "==> $1"
  shift
  "$@"
  echo "    took $((SECONDS - start)) s"
}

install() {
  "$VENV/bin/python" -m pip install --quiet --no-input --constraint requirements/constraints.txt "$@" </dev/null
}
satisfied() { "$VENV/bin/python" scripts/satisfied.py "$@"; }
reachable() { timeout 8 "$PYTHON" -c "import urllib.request as u; u.urlopen('$1', timeout=5)" 2>/dev/null; }

# What the finished environment consists of: changes with any package, pin, move of the folder.
state() {
  { echo "$PWD"; cat requirements/*.txt setup.py sgpose/version.py scripts/setup.sh
    ls -d "$VENV"/lib/python3*/site-packages/*{-info,.egg-link} sgpose/.mim/*; } 2>/dev/null | sha256sum
}

create_venv() {
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
    fail "the pinned packages need CPython 3.11, $PYTHON is not: set PYTHON=/path/to/python3.11"
  "$PYTHON" -m venv --clear "$VENV"
}

# PyTorch's CPU build is a tenth of the size of the one on the package index, which holds CUDA.
install_torch() {
  local cpu=https://download.pytorch.org/whl/cpu extra=()
  if ! command -v nvidia-smi >/dev/null && reachable "$cpu/torch/"; then extra=(--extra-index-url "$cpu"); fi
  install --no-cache-dir ${extra[@]+"${extra[@]}"} -r requirements/torch.txt
}

# Takes a ready wheel where pip finds one (its cache, PIP_FIND_LINKS, OpenMMLab's page for this PyTorch).
# Else builds the CPU operators, which are all that HRNet needs, on a GPU too.
install_mmcv() {
  local platform page links=()
  platform=$("$VENV/bin/python" -c 'import torch; v = torch.version.cuda; print("cu" + v.replace(".", "") if v else "cpu")')
  page=https://download.openmmlab.com/mmcv/dist/$platform/torch2.1/index.html
  if reachable "$page"; then links=(--find-links "$page"); fi
  CFLAGS="-g0 -O1" CXXFLAGS="-g0 -O1" MAX_JOBS=${MAX_JOBS:-$(nproc)} \
    MMCV_WITH_OPS=1 FORCE_CUDA=0 CUDA_VISIBLE_DEVICES= \
    install --no-build-isolation ${links[@]+"${links[@]}"} "$@" -r requirements/mmcv.txt
}

operators_load() { "$VENV/bin/python" -c 'import mmcv.ops'; }

if [ -f "$VENV/set-up" ] && [ "$(cat "$VENV/set-up")" = "$(state)" ]; then
  echo "==> .venv is complete"
  exit 0
fi

"$VENV/bin/python" -m pip --version >/dev/null 2>&1 || step "Creating .venv with $PYTHON" create_venv
satisfied requirements/build.txt ||
  step "Installing build tools, seconds" install -r requirements/build.txt
satisfied requirements/torch.txt ||
  step "Installing PyTorch, about 2 minutes (2 GB to fetch, 200 MB where its CPU build can be had)" install_torch
satisfied requirements/{openmmlab,tests}.txt ||
  step "Installing MMEngine, MMDetection, OpenMIM and test tools, about a minute" \
    install -r requirements/openmmlab.txt -r requirements/tests.txt
satisfied requirements/mmpose.txt ||
  step "Installing MMPose, seconds" install --no-deps -r requirements/mmpose.txt
satisfied requirements/mmcv.txt ||
  step "Installing mmcv: seconds with a ready wheel, else a build of about 9 minutes on 2 cores (g++)" install_mmcv
operators_load ||
  step "mmcv's operators were compiled for another PyTorch: building them again, about 9 minutes on 2 cores" \
    install_mmcv --no-cache-dir --no-binary mmcv --force-reinstall --no-deps
operators_load || fail "mmcv's operators do not load beside this PyTorch (see above)"
step "Installing sgpose, editable" install --no-deps --no-build-isolation --editable .
state >"$VENV/set-up"
echo "==> .venv is complete after $SECONDS s"
