#!/bin/sh
# fetch.sh NAME [DEST]: mnist, fashion-mnist or cifar10 from its official place into DEST (data/NAME), unpacked and checked.
#   icd train --data data/mnist ...
# A download that was cut off goes on where it stopped; nothing is put in place before every file's SHA-256 is right; a
# complete folder is left alone. Needs curl or wget, gzip, tar, and sha256sum, shasum or openssl.
#   ICD_MIRROR=URL       take the archives from URL/FILE instead
#   ICD_SHA256SUMS=FILE  another list of checksums
set -u
here=$(cd "$(dirname "$0")" && pwd) || exit 1
sums=${ICD_SHA256SUMS:-$here/SHA256SUMS}
known="mnist fashion-mnist cifar10"
idx="train-images-idx3-ubyte.gz train-labels-idx1-ubyte.gz t10k-images-idx3-ubyte.gz t10k-labels-idx1-ubyte.gz"

die() { echo "fetch.sh: $*" >&2; exit 1; }

name=${1:-}
case $name in
mnist)         base=https://ossci-datasets.s3.amazonaws.com/mnist archives=$idx ;;
fashion-mnist) base=http://fashion-mnist.s3-website.eu-central-1.amazonaws.com archives=$idx ;;
cifar10)       base=https://www.cs.toronto.edu/~kriz archives=cifar-10-binary.tar.gz ;;
'')            die "usage: fetch.sh NAME [DEST], NAME one of: $known" ;;
*)             die "unknown data set '$name', wanted one of: $known" ;;
esac
base=${ICD_MIRROR:-$base}
dest=${2:-$here/$name}

if command -v sha256sum >/dev/null; then sha256() { sha256sum <"$1" | cut -d ' ' -f 1; }
elif command -v shasum >/dev/null; then sha256() { shasum -a 256 <"$1" | cut -d ' ' -f 1; }
elif command -v openssl >/dev/null; then sha256() { openssl dgst -sha256 <"$1" | sed 's/.* //'; }
else die "wanted sha256sum, shasum or openssl to check what is fetched"; fi

files=$(sed -n "s|^[0-9a-f]*  $name/||p" "$sums") || die "cannot read $sums"
[ -n "$files" ] || die "$sums lists no file of $name"
wanted() { sed -n "s|^\([0-9a-f]*\)  $name/$1\$|\1|p" "$sums"; }

# right FOLDER: every file is there and as listed; the first that is not is named in $wrong.
right() {
    for f in $files; do
        wrong=$f
        [ -f "$1/$f" ] && [ "$(sha256 "$1/$f")" = "$(wanted "$f")" ] || return 1
    done
}

# download URL FILE: go on from what FILE has.
download() {
    if command -v curl >/dev/null; then
        curl --fail --location --retry 3 --progress-bar --continue-at - --output "$2" "$1"
    elif command -v wget >/dev/null; then
        wget --continue --tries=4 --output-document="$2" "$1"
    else
        die "wanted curl or wget"
    fi
}

if right "$dest"; then
    echo "$dest: already complete"
    exit 0
fi
mkdir -p "$dest" || exit 1
new=$dest/.unpacked
trap 'rm -rf "$new"' EXIT
trap 'exit 1' HUP INT TERM
rm -rf "$new"
mkdir "$new" || exit 1

for a in $archives; do
    part=$dest/$a.part
    if ! gzip -t "$part" 2>/dev/null; then
        download "$base/$a" "$part" || die "$base/$a could not be fetched; what came is in $part, and the same command goes on from there"
    fi
    if ! gzip -t "$part" 2>/dev/null; then
        rm -f "$part"
        die "$base/$a is no whole gzip file; removed, nothing was put in place"
    fi
    case $a in
    *.tar.gz) gzip -dc "$part" | (cd "$new" && tar -xf -) && for f in $files; do find "$new" -type f -path "*/*/$f" -exec mv {} "$new/$f" \; ; done ;;
    *)        gzip -dc "$part" >"$new/${a%.gz}" ;;
    esac || die "$part could not be unpacked into $new"
done

if ! right "$new"; then
    found=none
    [ ! -f "$new/$wrong" ] || found=$(sha256 "$new/$wrong")
    for a in $archives; do rm -f "$dest/$a.part"; done
    die "$wrong from $base has SHA-256 $found, wanted $(wanted "$wrong"); nothing was put in place"
fi
for f in $files; do
    mv -f "$new/$f" "$dest/$f" || exit 1
done
for a in $archives; do rm -f "$dest/$a.part"; done
echo "$dest: complete and checked"
