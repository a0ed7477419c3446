#!/bin/bash
# Runs an x86-64 Linux program on an emulated CPU that has AVX-512 (F, CD, BW, DQ, VL), for
# machines without it. It boots a Debian kernel with the program in an initramfs inside Bochs,
# prints what the program writes (stdout and stderr together) and exits with its status.
#
#   tests/emulate-avx512.sh BINARY [ARGS...]
#   CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=$PWD/tests/emulate-avx512.sh cargo test --release
#
# Needs Debian 12 or later on x86-64. The first run installs g++, make, xorriso, cpio and
# debian-archive-keyring if they are missing (as root, or with sudo), downloads a kernel, BIOS and
# busybox (unpacked into the cache, not installed) and builds Bochs from Debian's source package:
# 5 to 10 minutes, in about 500 MB. The packaged Bochs has the AVX-512 instructions too, but is
# built with its debugger, which makes it about three times slower.
#
# Later runs: some 10 s to boot, then 100 to 200 million integer instructions a second and
# 20 to 40 million 512-bit floating-point ones. Use --release and few test cases.
# The emulated machine has one core, no network and no disk. Its clock follows the instruction
# count, not real time, so no timing taken inside it means anything.
#
# Exit status: the program's, 128 + the signal that killed it, 124 past the time limit, or 125
# when the emulator failed (its log's end goes to stderr).
#
#   EMU_CPU      Bochs CPU model (default corei7_skylake_x; corei7_icelake_u and sapphire_rapids
#                have later extensions, corei7_haswell_4770 has AVX2 and FMA only)
#   EMU_MEM      memory of the guest in MiB (default 1024)
#   EMU_TIMEOUT  time limit in seconds (default 3000)
#   EMU_FILES    files and directories to copy into the guest, under the same absolute path
#   EMU_CACHE    where the emulator lives (default ~/.cache/emulate-avx512)
#   EMU_LOGLEVEL 7 to see the kernel's messages
#   EMU_KEEP     set to keep the work directory
# Environment variables RUST*, PROPTEST*, QUICKCHECK*, EMU_PASS_* and CARGO_MANIFEST_DIR are
# passed on to the program.
set -u

D=${EMU_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/emulate-avx512}

setup() (
  set -e
  root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
  need=
  for p in g++ make xorriso cpio debian-archive-keyring binutils xz-utils; do
    dpkg -s "$p" >/dev/null 2>&1 || need="$need $p"
  done
  if [ -n "$need" ]; then
    root apt-get update -q
    # shellcheck disable=SC2086
    root apt-get install -q -y --no-install-recommends $need
  fi
  T=$D.tmp
  rm -rf "$T"; mkdir -p "$T/out" "$T/debs" "$T/sys" "$T/lists/partial" "$T/src"
  cd "$T/debs"
  kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image-/ { print $2; exit }')
  apt-get download -q "$kernel" bochsbios vgabios busybox-static isolinux syslinux-common
  for d in *.deb; do dpkg -x "$d" "$T/sys"; done
  cp "$T"/sys/boot/vmlinuz-* "$T/out/vmlinuz"
  cp "$T/sys/usr/share/bochs/BIOS-bochs-latest" "$T/sys/usr/share/vgabios/vgabios.bin" \
     "$T/sys/usr/lib/ISOLINUX/isolinux.bin" "$T/sys/usr/lib/syslinux/modules/bios/ldlinux.c32" "$T/out/"
  cp "$T"/sys/*bin/busybox "$T/out/busybox" 2>/dev/null || cp "$T/sys/usr/bin/busybox" "$T/out/busybox"

  # Bochs 3.0, whose floating point is Berkeley SoftFloat 3, is in Debian 13. The mirror is the
  # one apt is set up with; neither the system's list of sources nor its packages are touched.
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/$')
  echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror ${EMU_SUITE:-trixie} main" > "$T/sources.list"
  apt_src() { apt-get -q -o Dir::Etc::sourcelist="$T/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$T/lists" \
    -o Dir::Cache::srcpkgcache= -o Dir::Cache::pkgcache= -o APT::Sandbox::User="$(id -un)" "$@"; }
  apt_src update
  cd "$T/src"
  apt_src source --tar-only bochs
  tar xf bochs_*.orig.tar.xz
  cd bochs-*/
  f="-O3 -fomit-frame-pointer -fno-pie -fno-strict-aliasing -ffp-contract=off -flto=2"
  CFLAGS=$f CXXFLAGS=$f LDFLAGS=-no-pie ./configure --with-nogui --without-x11 --disable-docbook \
    --enable-cpu-level=6 --enable-x86-64 --enable-pci --enable-avx --enable-evex --enable-memtype \
    --enable-all-optimizations --enable-repeat-speedups --enable-fast-function-calls \
    --enable-handlers-chaining --disable-plugins --disable-smp --disable-debugger --disable-gdb-stub \
    --disable-x86-debugger --disable-readline > "$T/configure.log" 2>&1
  echo "building Bochs (some minutes; log in $T/make.log)"
  nice make -j"$(nproc)" AR=gcc-ar RANLIB=gcc-ranlib > "$T/make.log" 2>&1
  cp bochs "$T/out/bochs"; strip "$T/out/bochs"
  rm -rf "$D"; mv "$T/out" "$D"; rm -rf "$T"
)

[ $# -ge 1 ] || { echo "usage: $0 BINARY [ARGS...]" >&2; exit 125; }
if [ ! -x "$D/bochs" ]; then
  setup >&2 || { echo "emulator: could not set up $D" >&2; exit 125; }
fi

bin=$(readlink -f -- "$1") || exit 125; shift
[ -f "$bin" ] || { echo "no such file: $bin" >&2; exit 125; }
W=$(mktemp -d "${TMPDIR:-/tmp}/emu512.XXXXXX") || exit 125
cleanup() { [ "${EMU_KEEP:-}" ] && echo "kept $W" >&2 || rm -rf "$W"; }
trap cleanup EXIT
mark="@@EMU-$RANDOM$RANDOM"
R=$W/root; mkdir -p "$R"/{bin,proc,sys,dev,tmp,etc} "$R$PWD" "$W/iso"
cp "$D/busybox" "$R/bin/busybox"; ln -s busybox "$R/bin/sh"
strip -s -o "$R/bin/prog" "$bin" 2>/dev/null || cp "$bin" "$R/bin/prog"
chmod 755 "$R/bin/prog"
# shared libraries of a dynamically linked program, at the paths the loader looks at
ldd "$bin" 2>/dev/null | grep -oE '/[^ ]+' | sort -u | while read -r l; do
  mkdir -p "$R$(dirname "$l")"; cp -L "$l" "$R$l"
done
for f in ${EMU_FILES:-}; do f=$(readlink -f "$f"); mkdir -p "$R$(dirname "$f")"; cp -a "$f" "$R$f"; done
q() { local s=${1//\'/\'\\\'\'}; printf " '%s'" "$s"; }
{
  echo '#!/bin/sh'
  echo 'B=/bin/busybox'
  echo '$B mount -t proc p /proc; $B mount -t sysfs s /sys 2>/dev/null; $B mount -t devtmpfs d /dev; $B mount -t tmpfs t /tmp'
  echo '$B ln -sf /proc/self/fd /dev/fd; $B stty -onlcr'
  echo 'unset TERM; export HOME=/ PATH=/bin TMPDIR=/tmp'
  for v in $(compgen -e | grep -E '^(RUST|CARGO_MANIFEST_DIR|PROPTEST|QUICKCHECK|EMU_PASS_)'); do
    printf 'export %s=' "$v"; q "${!v}" | cut -c2-; done
  printf 'cd'; q "$PWD"; echo
  echo "echo '${mark}B'"
  printf '/bin/prog'; for a in "$@"; do q "$a"; done; echo ' </dev/null'
  echo "echo \"${mark}E\$?\""
  echo '$B sleep 1; $B reboot -f'
} > "$R/init"; chmod 755 "$R/init"
(cd "$R" && find . -print0 | cpio -0 -o -H newc --quiet -R 0:0) > "$W/iso/initrd"
rm -rf "$R"
ln "$D/vmlinuz" "$W/iso/vmlinuz" 2>/dev/null || cp "$D/vmlinuz" "$W/iso/vmlinuz"
cp "$D/isolinux.bin" "$D/ldlinux.c32" "$W/iso/"
cat > "$W/iso/isolinux.cfg" <<C
DEFAULT l
PROMPT 0
LABEL l
 KERNEL /vmlinuz
 INITRD /initrd
 APPEND console=ttyS0,115200 quiet loglevel=${EMU_LOGLEVEL:-0} mitigations=off nokaslr panic=-1 reboot=t random.trust_cpu=on tsc=reliable clocksource=tsc printk.time=0 oops=panic
C
xorriso -as mkisofs -quiet -o "$W/boot.iso" -b isolinux.bin -c boot.cat -no-emul-boot -boot-load-size 4 -boot-info-table "$W/iso" 2>"$W/xorriso.log" || { cat "$W/xorriso.log" >&2; exit 125; }
rm -rf "$W/iso"
cat > "$W/rc" <<C
display_library: nogui
romimage: file=$D/BIOS-bochs-latest
vgaromimage: file=$D/vgabios.bin
cpu: model=${EMU_CPU:-corei7_skylake_x}, count=1, ips=${EMU_IPS:-50000000}, reset_on_triple_fault=0, ignore_bad_msrs=1
megs: ${EMU_MEM:-1024}
clock: sync=none
ata0: enabled=1
ata0-master: type=cdrom, path=$W/boot.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$W/com1
log: $W/bochs.log
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
C
perl -e '
  use strict; use POSIX ":sys_wait_h"; $| = 1;
  my ($m, $ser, $limit, $log, @cmd) = @ARGV;
  my $pid = fork; defined $pid or exit 125;
  if (!$pid) { open STDIN, "<", "/dev/null"; open STDOUT, ">", $log; open STDERR, ">&STDOUT"; exec @cmd; exit 127 }
  my $stop = sub { kill "KILL", $pid; waitpid $pid, 0; exit $_[0] };
  $SIG{INT} = $SIG{TERM} = sub { $stop->(130) };
  my ($f, $buf, $on, $dead, $t0) = (undef, "", 0, 0, time);
  while (1) {
    my $n = 0;
    $f or open($f, "<", $ser) or undef $f;
    $n = sysread($f, $buf, 65536, length $buf) || 0 if $f;
    while ($buf =~ s/^(.*?\n)//) {
      my $l = $1;
      if (!$on) { if ($l =~ /\Q${m}\EB/) { $on = 1 } elsif ($ENV{EMU_LOGLEVEL}) { print STDERR $l } }
      elsif ($l =~ /^(.*)\Q${m}\EE(\d+)/s) { print $1; $stop->($2) }
      else { print $l }
    }
    next if $n;
    if ($dead) { print $buf if $on; print STDERR "emulator: the machine stopped before the program ended\n"; exit 125 }
    if (time - $t0 > $limit) { print $buf if $on; print STDERR "emulator: time limit of $limit s\n"; $stop->(124) }
    $dead = 1 if waitpid($pid, WNOHANG) == $pid;
    select undef, undef, undef, 0.05;
  }' "$mark" "$W/com1" "${EMU_TIMEOUT:-3000}" "$W/out" "$D/bochs" -q -f "$W/rc"
rc=$?
[ $rc = 125 ] && tail -qn 15 "$W/out" "$W/bochs.log" >&2 2>/dev/null
exit $rc
