#!/usr/bin/env bash
# scripts/setup.sh build|demo|fuzz|valgrind|test: installs what is missing for that, and is quick when nothing is.
# npm packages go into the checkout. Programs come from Debian's packages where this runs as root;
# elsewhere it lists what is missing and ends with 1.
. "$(dirname -- "${BASH_SOURCE[0]}")/env.sh"

purpose=${1:-test}
missing=()  # "program: package"
wished=()   # packages without which some tests are skipped, and say so; not every distribution has them

has () { command -v -- "$1" >/dev/null; }
need () { missing+=("$1: $2"); }

# ldd fails on a program that needs no libraries: only such a busybox runs alone in a root directory.
static_busybox () { has busybox && ! ldd -- "$(command -v busybox)" >/dev/null 2>&1; }
sanitizers () { [ -f "$(gcc -print-file-name=libasan.so)" ] && [ -f "$(gcc -print-file-name=libubsan.so)" ]; }

look () {
  missing=()
  wished=()
  has gcc || need 'a C compiler' gcc
  has g++ || need 'a C++17 compiler' g++
  toolchain/find-uv.sh >/dev/null || need "libuv's headers" libuv1-dev
  # Without musl-gcc the shim is linked with glibc: it works, and takes some more memory for each container.
  if [ "$(id -u)" -eq 0 ] && has apt-get; then has musl-gcc || need musl-gcc musl-tools; fi
  [ "$purpose" != build ] || return 0
  has runc || need runc runc
  static_busybox || need 'a static busybox' busybox-static
  has curl || need curl curl
  if [ "$purpose" = fuzz ]; then test/native/fuzz.sh --can || need "clang's libFuzzer" 'clang libclang-rt-14-dev'; fi
  if [ "$purpose" = valgrind ]; then has valgrind || need valgrind valgrind; fi
  [ "$purpose" = test ] || return 0
  has chromium || has chromium-browser || has google-chrome || need 'Chromium, for the tests of the event stream in a browser' chromium
  has crun || wished+=(crun)  # the tests of a second runtime
  if has gcc && ! sanitizers; then need "gcc's sanitizer libraries" "libgcc-$(gcc -dumpversion)-dev"; fi
}

install_packages () { DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >"$log" 2>&1; }
# The lists may be absent or too old for the mirror, so a second try after an update.
update_and_install () { apt-get update >"$log" 2>&1 && install_packages "$@"; }

look
if [ ${#missing[@]} -gt 0 ]; then
  read -ra packages <<<"${missing[*]##*: }"
  if [ "$(id -u)" -eq 0 ] && has apt-get; then
    echo "Installing ${packages[*]}" >&2
    log=$(mktemp)
    # A third try is for a mirror that hiccups.
    install_packages "${packages[@]}" || update_and_install "${packages[@]}" || { sleep 5; update_and_install "${packages[@]}"; } || { cat "$log" >&2; rm -f "$log"; exit 1; }
    rm -f "$log"
    hash -r
    look
  fi
fi
if [ ${#missing[@]} -gt 0 ]; then
  echo 'longshore needs what is missing here (on the right: the Debian package that has it):' >&2
  printf '  %s\n' "${missing[@]}" >&2
  echo "On Debian or Ubuntu: sudo apt-get install --no-install-recommends ${missing[*]##*: }" >&2
  exit 1
fi
if [ ${#wished[@]} -gt 0 ] && [ "$(id -u)" -eq 0 ] && has apt-get; then
  echo "Installing ${wished[*]}" >&2
  log=$(mktemp)
  install_packages "${wished[@]}" || update_and_install "${wished[@]}" || echo "${wished[*]} cannot be installed here: the tests that need it are skipped" >&2
  rm -f "$log"
  hash -r
fi
if [ "$purpose" != build ] && [ "$(id -u)" -ne 0 ]; then
  echo "Running containers needs root: sudo make $purpose" >&2
  exit 1
fi

stamp=node_modules/.package-lock.json
if [ ! -f "$stamp" ] || [ package-lock.json -nt "$stamp" ] || [ package.json -nt "$stamp" ]; then
  echo 'Installing npm packages' >&2
  # A registry that hiccups is asked a second time.
  npm ci --loglevel=error >/dev/null || { sleep 5; npm ci --loglevel=error >/dev/null; }
  touch "$stamp"
fi
