#!/bin/sh
# Lays out all that the program needs to run in an empty folder: itself, the C library that it was linked with, the
# certificates that it checks others by, and a user. Nothing else is in the image: no shell, no package manager.
#
#   rootfs.sh PROGRAM FOLDER
set -eu
program=$1 root=$2
mkdir -p "$root/usr/bin" "$root/etc/ssl/certs" "$root/data" "$root/tmp"
cp "$program" "$root/usr/bin/outlay"
# The loader and the libraries, each where the program looks for it.
ldd "$program" | sed -n 's|.*=> \(/[^ ]*\) .*|\1|p; s|^[[:space:]]*\(/[^ ]*\) .*|\1|p' | sort -u | while read -r file; do
  mkdir -p "$root$(dirname "$file")"
  cp -L "$file" "$root$file"
done
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
echo 'outlay:x:65532:65532::/data:/sbin/nologin' > "$root/etc/passwd"
echo 'outlay:x:65532:' > "$root/etc/group"
echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
chmod 1777 "$root/tmp"
chmod 700 "$root/data"
