#!/bin/sh
# Installs a C compiler for TARGET on a machine of BUILD, and writes its name to ./compiler.
set -eu
build=$1 target=$2
case $target in
  amd64) triplet=x86_64-linux-gnu debian=amd64 ;;
  386) triplet=i686-linux-gnu debian=i386 ;;
  arm64) triplet=aarch64-linux-gnu debian=arm64 ;;
  *) echo "toolchain.sh: no compiler for $target is named here" >&2 && exit 2 ;;
esac
if [ "$build" = "$target" ]; then
  compiler=gcc
  set -- gcc libc6-dev
else
  compiler=$triplet-gcc
  set -- "gcc-$(echo "$triplet" | tr _ -)" "libc6-dev-$debian-cross"
fi
apt-get update
apt-get install --yes --no-install-recommends "$@"
rm -rf /var/lib/apt/lists/*
echo "$compiler" >compiler
