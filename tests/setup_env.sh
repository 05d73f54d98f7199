#!/usr/bin/env bash
# Sets up what the model tests need: .venv with pinned packages, the models, their ONNX Runtime
# references, text models with NumPy references, and the ONNX backend tests in the cache
# (CASCATA_CACHE or .cache). Quiet when there is nothing to do.
#
#   tests/setup_env.sh --peers   .venv-peers besides: what tests/peers/bench_peers.py needs
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=.venv/bin/python
stamp=.venv/requirements.txt

# cases NAME TEXT: writes test cases by tests/models/NAME.py, again if that has changed or what it
# imports.
cases() {
    local script=tests/models/$1.py folder=${CASCATA_CACHE:-.cache}/$1 made_by
    made_by=$(cat "$script" tests/models/onnx_backend.py tests/py/requirements.txt | cksum)
    [ "$(cat "$folder/made_by" 2> /dev/null)" != "$made_by" ] || return 0
    echo "$2"
    "$python" "$script" "$folder"
    echo "$made_by" > "$folder/made_by"
}

if [ ! -x "$python" ]; then
    echo "creating .venv"
    python3 -m venv .venv
fi
if ! cmp --silent tests/py/requirements.txt "$stamp"; then
    echo "installing tests/py/requirements.txt"
    "$python" -m pip install --quiet --disable-pip-version-check -r tests/py/requirements.txt
    cp tests/py/requirements.txt "$stamp"
fi
"$python" tests/models/fetch.py
"$python" tests/models/reference.py
"$python" tests/models/text/make.py --real
cases onnx_backend "writing the ONNX backend tests"
cases contrib "running ONNX Runtime on the operators of com.microsoft"
if [ "${1:-}" = --peers ] && ! cmp --silent tests/py/requirements-peers.txt .venv-peers/requirements.txt; then
    echo "installing tests/py/requirements-peers.txt into .venv-peers"
    python3 -m venv .venv-peers
    .venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r tests/py/requirements-peers.txt
    cp tests/py/requirements-peers.txt .venv-peers/requirements.txt
fi
