#!/bin/sh
# data/fetch.sh against a file:// mirror of small stand-ins: a good fetch, a resumed one, wrong bytes, unknown names.
command -v curl >/dev/null || { echo "curl is not installed, and wget reads no file://"; exit 77; }
command -v sha256sum >/dev/null || { echo "sha256sum is not installed"; exit 77; }
top=$(cd "$(dirname "$0")/.." && pwd)
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
cd "$dir" || exit 1
failed=0
not() { echo "not so: $*"; cat log; failed=1; }
fetch() { sh "$top/data/fetch.sh" "$@" >log 2>&1; }
same() { cmp -s "$1" "$2" || not "$1 is $2"; }
says() { grep -q -- "$1" log || not "the output says: $1"; }
left() { [ "$(ls -A "$1" | tr '\n' ' ')" = "$2" ] || { ls -A "$1"; not "$1 holds just: $2"; }; }

# The mirror: what the official places hold, in small.
mkdir mirror plain plain/cifar-10-batches-bin
idx="t10k-images-idx3-ubyte t10k-labels-idx1-ubyte train-images-idx3-ubyte train-labels-idx1-ubyte"
cifar="data_batch_1.bin data_batch_2.bin data_batch_3.bin data_batch_4.bin data_batch_5.bin test_batch.bin"
for f in $idx; do
    { echo "$f"; od -An -tx1 -N 20000 /dev/urandom; } >"plain/$f"
    gzip -nc "plain/$f" >"mirror/$f.gz"
    echo "$(sha256sum <"plain/$f" | cut -d ' ' -f 1)  mnist/$f" >>sums
done
for f in $cifar; do
    echo "$f" >"plain/cifar-10-batches-bin/$f"
    echo "$(sha256sum <"plain/cifar-10-batches-bin/$f" | cut -d ' ' -f 1)  cifar10/$f" >>sums
done
echo more >plain/cifar-10-batches-bin/readme.html
(cd plain && tar -cf - cifar-10-batches-bin) | gzip -nc >mirror/cifar-10-binary.tar.gz
export ICD_MIRROR="file://$dir/mirror" ICD_SHA256SUMS="$dir/sums"

# A good fetch of each kind, and a second that has nothing to do (the mirror is out of reach).
fetch mnist a || not "mnist is fetched"
for f in $idx; do same "a/$f" "plain/$f"; done
left a "$idx "
fetch cifar10 b || not "cifar10 is fetched"
for f in $cifar; do same "b/$f" "plain/cifar-10-batches-bin/$f"; done
left b "$cifar "
for known in "mnist a" "cifar10 b"; do
    ICD_MIRROR=file:///nowhere fetch $known || not "a complete folder needs no mirror"
    says "already complete"
done

# Resumed: the part that is there is not fetched again. The mirror's own first half is spoilt, so only a resumed file is right.
f=train-images-idx3-ubyte
size=$(wc -c <"mirror/$f.gz"); half=$((size / 2))
mkdir c
head -c "$half" "mirror/$f.gz" >"c/$f.gz.part"
cp "mirror/$f.gz" whole
{ head -c "$half" /dev/zero; tail -c +$((half + 1)) whole; } >"mirror/$f.gz"
fetch mnist c || not "a cut download is resumed"
for g in $idx; do same "c/$g" "plain/$g"; done
left c "$idx "
fetch mnist d && not "a spoilt archive is refused"
says "is no whole gzip file"
cp whole "mirror/$f.gz"

# Interrupted: what came stays, and the next call ends the work.
rm "mirror/$f.gz"
fetch mnist e && not "a missing archive fails"
says "$f.gz could not be fetched"
[ ! -e "e/$f" ] || not "nothing in place"
cp whole "mirror/$f.gz"
fetch mnist e || not "the second call ends the work"
left e "$idx "

# Wrong bytes in a whole archive: refused, the old files stay, and the next call starts anew.
echo other | gzip -nc >"mirror/$f.gz"
mkdir f
echo mine >"f/$f"
fetch mnist f && not "wrong bytes are refused"
says "$f from file://.* has SHA-256 .*, wanted .*; nothing was put in place"
[ "$(cat "f/$f")" = mine ] || not "the old file stays"
left f "$f "
cp whole "mirror/$f.gz"
fetch mnist f || not "and then the right ones are taken"
same "f/$f" "plain/$f"

# An archive without one of the files.
(cd plain && rm cifar-10-batches-bin/test_batch.bin && tar -cf - cifar-10-batches-bin) | gzip -nc >mirror/cifar-10-binary.tar.gz
fetch cifar10 g && not "an incomplete archive is refused"
says "test_batch.bin from .* has SHA-256 none"
left g ""

# Names.
fetch imagenet h && not "an unknown name is refused"
says "unknown data set 'imagenet', wanted one of: mnist fashion-mnist cifar10"
fetch && not "a name is wanted"
says "usage: fetch.sh NAME"
fetch fashion-mnist h && not "a set without checksums is refused"
says "lists no file of fashion-mnist"
[ ! -e h ] || not "nothing is made for a name that is refused"

# The list that is shipped: 4 + 4 + 6 files.
n=$(grep -Ec '^[0-9a-f]{64}  (mnist|fashion-mnist|cifar10)/[a-z0-9_.-]*$' "$top/data/SHA256SUMS")
[ "$n" -eq 14 ] && [ "$(wc -l <"$top/data/SHA256SUMS")" -eq 14 ] || not "data/SHA256SUMS has 14 lines"
[ $failed -ne 0 ] || echo "fetch.sh: fetched, resumed, refused as it should"
exit $failed
