#!/usr/bin/env bash
# Sets up what feature `ptx` needs, on Debian: LLVM and MLIR 22 with their headers, MLIR's C API
# as a shared library (Debian has it as archives only), and ptxas in .venv-ptx, with which tests
# assemble what is emitted. Quiet when there is nothing to do.
#
#   tests/setup_ptx.sh --check   installs nothing and uses no network: what is missing is an exit
#                                with 3
#
# Exits with 0 if everything is there, with 3 if it may not be installed here (not root, no apt,
# packages that apt does not know), saying why, and with 1 if installing failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

llvm=/usr/lib/llvm-22
packages=(
    llvm-22-dev libmlir-22-dev mlir-22-tools libpolly-22-dev libzstd-dev libclang1-22
    libclang-common-22-dev
)

cannot() {
    echo "$1" >&2
    exit 3
}

may_install() { # may_install WHAT
    [ "${check:-}" = "" ] || cannot "$1 is missing; tests/setup_ptx.sh installs it"
}
case ${1:-} in
    "") ;;
    --check) check=1 ;;
    *) echo "usage: tests/setup_ptx.sh [--check]" >&2; exit 2 ;;
esac

missing() {
    local package
    for package in "${packages[@]}"; do
        dpkg --status "$package" 2> /dev/null | grep -q '^Status: .* installed$' || echo "$package"
    done
}

command -v dpkg > /dev/null || cannot "this is no Debian; install LLVM and MLIR 22 into $llvm"
mapfile -t absent < <(missing)
if [ ${#absent[@]} -gt 0 ]; then
    may_install "${absent[*]}"
    [ "$(id -u)" = 0 ] || cannot "not root; to install: apt-get install ${absent[*]}"
    command -v apt-get > /dev/null || cannot "there is no apt-get to install ${absent[*]}"
    apt-cache show llvm-22-dev > /dev/null 2>&1 || apt-get -qq update ||
        cannot "apt's lists of packages cannot be fetched"
    apt-cache show llvm-22-dev > /dev/null 2>&1 || cannot "apt knows no LLVM 22"
    echo "installing ${absent[*]}"
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends "${absent[@]}" \
        > /dev/null
fi

if [ ! -e $llvm/lib/libMLIR-C.so ]; then
    may_install libMLIR-C.so
    [ -w $llvm/lib ] || cannot "not root; libMLIR-C.so cannot be written to $llvm/lib"
    command -v c++ > /dev/null || cannot "there is no C++ compiler to link libMLIR-C.so"
    echo "linking libMLIR-C.so"
    # As libMLIR-C.so.new first: a link that fails leaves nothing behind that looks complete.
    # By its whole path programs find it whatever the loader searches.
    c++ -shared -o $llvm/lib/libMLIR-C.so.new \
        -Wl,-soname,$llvm/lib/libMLIR-C.so -Wl,-rpath,$llvm/lib \
        -Wl,--whole-archive $llvm/lib/libMLIRCAPI*.a -Wl,--no-whole-archive \
        -L$llvm/lib -lMLIR -lLLVM-22
    mv $llvm/lib/libMLIR-C.so.new $llvm/lib/libMLIR-C.so
fi

if ! cmp --silent tests/py/requirements-ptx.txt .venv-ptx/requirements.txt; then
    may_install .venv-ptx
    echo "installing tests/py/requirements-ptx.txt into .venv-ptx"
    python3 -m venv .venv-ptx
    .venv-ptx/bin/python -m pip install --quiet --disable-pip-version-check \
        -r tests/py/requirements-ptx.txt
    ln -sf "$(realpath .venv-ptx/lib/python3.*/site-packages/nvidia/cuda_nvcc/bin/ptxas)" \
        .venv-ptx/bin/ptxas
    .venv-ptx/bin/ptxas --version > /dev/null
    cp tests/py/requirements-ptx.txt .venv-ptx/requirements.txt
fi
