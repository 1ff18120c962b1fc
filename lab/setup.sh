#!/usr/bin/env bash
# Installs, once, what `make demo` and `make test` need: Debian packages, uv in the cache, .venv from the lock.
# Later runs only look whether all of it is there. Uses apt, pip and uv as this machine configures them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly UV_VERSION=0.13.9
readonly PACKAGES=(
  buildah ca-certificates debian-archive-keyring dnsmasq-base docker-registry git iproute2 iptables mmdebstrap
  mount nftables pigz procps qemu-user-static ripgrep runc skopeo umoci util-linux xz-utils zstd
)
readonly POLICY=/usr/sbin/policy-rc.d

cache=${ANYARCH_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/anyarch}
log=$cache/setup.log
python=${PYTHON:-python3}

say() { printf 'setup: %s\n' "$*"; }
fail() {
  printf 'setup: %s\n' "$*" >&2
  exit 4
}

# Runs a command with its output in the log; prints the log's end only if it fails.
logged() {
  printf '\n$ %s\n' "$*" >>"$log"
  if ! "$@" >>"$log" 2>&1 </dev/null; then
    tail -n 25 "$log" >&2
    fail "this failed: $* (the whole output: $log)"
  fi
}

check_machine() {
  [ "$(id -u)" = 0 ] || fail "run this as root: it makes network namespaces and installs packages"
  command -v apt-get >/dev/null || fail "this needs Debian 12, Ubuntu 24.04 or newer: there is no apt-get here"
  command -v "$python" >/dev/null || fail "there is no python3: apt-get install python3"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$python is older than 3.11; name a newer one: PYTHON=python3.12 make …"
}

missing_packages() {
  local installed
  installed=$(dpkg-query --show --showformat='${db:Status-Status} ${Package}\n' "${PACKAGES[@]}" 2>/dev/null |
    sed -n 's/^installed //p' || true)
  comm -23 <(printf '%s\n' "${PACKAGES[@]}" | sort) <(sort <<<"$installed")
  # A Python that is not Debian's brings its own.
  "$python" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
}

# Debian starts a package's service as soon as it is installed. Ours run as processes of their own, so
# for the time of the installation the policy is "not now", unless the machine has a policy already.
install_packages() {
  local -a missing
  mapfile -t missing < <(missing_packages)
  [ "${#missing[@]}" -gt 0 ] || return 0
  say "installing ${#missing[@]} Debian packages (once): ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
  local -a patient=(-o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Acquire::http::Timeout=60)
  logged apt-get "${patient[@]}" update
  if [ ! -e "$POLICY" ]; then
    trap 'rm -f "$POLICY"' EXIT
    install -m 755 <(printf '#!/bin/sh\nexit 101\n') "$POLICY"
  fi
  logged apt-get "${patient[@]}" install --yes --no-install-recommends "${missing[@]}"
  if [ -n "$(trap -p EXIT)" ]; then
    rm -f "$POLICY"
    trap - EXIT
  fi
  if [ -d /run/systemd/system ] && [[ " ${missing[*]} " == *" docker-registry "* ]]; then
    logged systemctl disable docker-registry.service
  fi
}

# uv reads no pip configuration; where only pip has been told of an index or a certificate, pass it on.
adopt_pip_settings() {
  local index certificate
  index=${PIP_INDEX_URL:-$("$cache/uv/bin/pip" config get global.index-url 2>/dev/null || true)}
  certificate=${PIP_CERT:-$("$cache/uv/bin/pip" config get global.cert 2>/dev/null || true)}
  if [ -n "$index" ] && [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}${UV_CONFIG_FILE:-}" ] &&
    [ ! -e /etc/uv/uv.toml ] && [ ! -e "${XDG_CONFIG_HOME:-${HOME:-/root}/.config}/uv/uv.toml" ]; then
    export UV_DEFAULT_INDEX=$index
  fi
  if [ -n "$certificate" ] && [ -z "${SSL_CERT_FILE:-}" ]; then
    export SSL_CERT_FILE=$certificate
  fi
}

install_uv() {
  if [ "$("$cache/uv/bin/uv" --version 2>/dev/null | cut -d' ' -f2)" != "$UV_VERSION" ]; then
    say "installing uv $UV_VERSION in the cache (once)"
    logged "$python" -m venv --clear "$cache/uv"
    logged "$cache/uv/bin/pip" --disable-pip-version-check install --retries 5 "uv==$UV_VERSION"
  fi
}

# What .venv was made from: as long as this stays the same, so does .venv.
fingerprint() {
  "$python" -c 'import sys; print(sys.version, sys.prefix)'
  cat requirements.lock pyproject.toml "${BASH_SOURCE[0]}"
  pwd
}

install_venv() {
  local wanted stamp=.venv/anyarch-setup
  wanted=$(fingerprint | sha256sum)
  if [ "$(cat $stamp 2>/dev/null)" = "$wanted" ]; then return 0; fi
  install_uv
  say "making .venv from requirements.lock"
  adopt_pip_settings
  export UV_PYTHON_DOWNLOADS=never UV_NO_PROGRESS=1
  logged "$cache/uv/bin/uv" venv --quiet --allow-existing --no-project \
    --python "$("$python" -c 'import sys; print(sys.executable)')" .venv
  logged "$cache/uv/bin/uv" pip sync --python .venv/bin/python --require-hashes requirements.lock
  logged "$cache/uv/bin/uv" pip install --python .venv/bin/python --no-deps --no-build-isolation --editable .
  ln -sf "$cache/uv/bin/uv" .venv/bin/uv # the native engine's Python SDK image is made with it
  printf '%s\n' "$wanted" >$stamp
}

main() {
  check_machine
  mkdir -p "$cache"
  exec 9>"$cache/setup.lock"
  flock --wait 1800 9 || fail "another set-up has been running for half an hour: $cache/setup.lock"
  install_packages
  install_venv
}

main
