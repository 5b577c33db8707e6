#!/bin/sh
# check_cli.sh: whatever is wrong with what the program is given, it says so in one line that begins with "icd: ", ends with a
# status that is not 0, and leaves alone what was there. (The usage follows only where options are wrong.)
. tests/lib.sh
disk=$dir/disk
trap 'umount "$disk" 2>/dev/null; chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
cd "$dir" || exit 1
count=0
ulimit -t 60 2>/dev/null        # what should have been refused shall not run for hours

# What must survive: a file that --out names, and a run.
guard() { cat out.png out.npy out.st 2>/dev/null; for f in run/* run/samples/*; do [ -d "$f" ] || { echo "$f"; cat "$f"; }; done; }
untouched()
{
    guard | cmp -s - guarded || { fail "$* left everything as it was"; guard >guarded; }
    [ ! -e new ] || { fail "$* made no folder"; rm -rf new; }
    for left in *.tmp-* run/*.tmp-*; do [ ! -e "$left" ] || { fail "$* left $left"; rm -f "$left"; }; done
}

# The program fails with status RC and one line that has each of the WORDS (a shell pattern: *a*b*).
says()       # RC WORDS ARGUMENTS
{
    rc=$1 words=$2
    shift 2
    count=$((count + 1))
    $EXE "$@" >stdout 2>stderr </dev/null
    got=$?
    [ $got -eq "$rc" ] || fail "icd $* ends with status $rc: $got"
    line=$(head -n 1 stderr)
    case $line in "icd: "?*) ;; *) fail "icd $* says one line that begins with 'icd: ': $line" ;; esac
    case $line in *"$(printf '\t')"*) fail "icd $*: a tab in: $line" ;; esac
    case $line in $words) ;; *) fail "icd $* says $words: $line" ;; esac
    lines=$(wc -l <stderr)
    if [ "$rc" -eq 2 ]; then
        case $(sed -n 2p stderr) in usage:*|icd:*) ;; *) fail "icd $*: the usage after the line" ;; esac
    else
        [ "$lines" -eq 1 ] || { fail "icd $* says one line: $lines"; cat stderr; }
    fi
    untouched "icd $*"
}
bad() { says 1 "$@"; }
wrong() { says 2 "$@"; }

# ---- what the rest needs: a small model, one with classes, a run ----
small="iterations=10 batch=4 steps=2 nn_set=4 nn_min_buffer=0 buffer_size=64 sample_every=2 sample_rounds=1 sample_steps=1"
net='conv 2 5 2 2 | swish | down 4 | mean | dense 1'
train() { $EXE train --preset code-mnist --set "arch=$net" $small "$@"; }
$EXE init --preset code-mnist --set "arch=$net" $small image=1x28x28 --out m.st >/dev/null || fail "init"
$EXE init --preset code-mnist --set "arch=$net" $small image=1x28x28 classes=3 --out c.st >/dev/null || fail "init with classes"
train --data digits:20 --out run --set iterations=2 >/dev/null 2>&1 || { fail "a run"; exit 1; }
for f in png npy st; do echo precious >out.$f; done
guard >guarded

# ---- commands, options ----
wrong "*unknown command 'trian'*'train'*"            trian
wrong "*unknown command 'q'*"                        q
wrong "*--out is missing*"                           train --preset demo --data digits:9
wrong "*unknown option --modle*"                     sample --modle m.st --out out.png
wrong "*--model is there twice*"                     sample --model m.st --model m.st --out out.png
wrong "*--model wants a value*"                      sample --out out.png --model
wrong "*--set wants key=value*"                      sample --model m.st --out out.png --set
wrong "*what is 'steps' for*"                        sample --model m.st --out out.png steps
wrong "*--model is missing*"                         energy --data digits:9 --out out.npy
wrong "*--noise is missing*"                         step --model m.st --positives p --start s --neighbours x --out out.st
bad "*--preset and --config*"                        train --data digits:9 --out new
bad "*--preset and --config*"                        train --preset demo --config c --data digits:9 --out new
bad "*--resume takes its settings from the run*"     train --resume --preset demo --out run
bad "*unknown preset 'demp'*'demo'*"                 train --preset demp --data digits:9 --out new
bad "*unknown preset*info presets*"                  init --preset 12345678 --out out.st
bad "*no engine 'reg'*'ref'*"                        init --preset demo --engine reg --out out.st
bad "*no engine 'gpu'*info engines*"                 sample --model m.st --engine gpu --out out.png
bad "*--engine gpu*ref and ref64*"                   verify --engine gpu
bad "*--count 0*wanted 1*"                           sample --model m.st --out out.png --count 0
bad "*--count many*wanted 1*"                        sample --model m.st --out out.png --count many
bad "*--count 99999999999999999999*wanted 1*"        sample --model m.st --out out.png --count 99999999999999999999
bad "*--class -1*"                                   sample --model c.st --out out.png --class -1
bad "*--class 3*0..2*"                               sample --model c.st --out out.png --class 3
bad "*--class 0*no classes*"                          sample --model m.st --out out.png --class 0
bad "*out.jpg*.png or .npy*"                         sample --model m.st --out out.jpg
bad "*nothing.st*cannot be opened*No such file*"     info nothing.st
bad "*run*is a folder*"                              info run
bad "*one?line.st*"                                  info "one
line.st"
wrong "*unknown option --a?b*"                       info --a"
"b

bad "*out.png*too large for a picture*"              sample --model m.st --out out.png --count 10000000

# ---- settings ----
set_says() { words=$1; shift; bad "$words" init --preset demo --out out.st --set "$@"; }
set_says "*unknown setting 'filter'*'filters'*"      filter=3
set_says "*unknown setting 'STEPSIZE'*'step_size'*"  STEPSIZE=3
set_says "*unknown setting 'qqqqqqqq'*info settings*"              qqqqqqqq=3
set_says "*'filters' is '0'*1 to 65536*"             filters=0
set_says "*'filters' is ''*1 to 65536*"              filters=
set_says "*'filters' is '8.5'*whole number*"         filters=8.5
set_says "*'steps' is '1e3'*whole number*"           steps=1e3
set_says "*'step_size' is 'nan'*"                    step_size=nan
set_says "*'step_size' is 'inf'*"                    step_size=inf
set_says "*'step_size' is '0x10'*"                   step_size=0x10
set_says "*'noise' is '-1'*0 to*"                    noise=-1
set_says "*'restart_prob' is '1.01'*0 to 1*"         restart_prob=1.01
set_says "*'ema' is '1.5'*0 to 1*"                   ema=1.5
set_says "*'crop_min' is '0'*"                       crop_min=0
set_says "*'seed' is '-1'*0 to 18446744073709551615*" seed=-1
set_says "*'seed' is '18446744073709551616'*"        seed=18446744073709551616
set_says "*'iterations' is '99999999999999999999'*"  iterations=99999999999999999999
set_says "*'clamp' is 'maybe'*on or off*"            clamp=maybe
set_says "*'norm' is 'batch'*none|group|instance|auto*" norm=batch
set_says "*'noise_order' is 'later'*after|before*"   noise_order=later
set_says "*'kl_sign' is '0'*1 or -1*"                kl_sign=0
set_says "*'backprop_steps' is 3*steps = 2*"         steps=2 backprop_steps=3
set_says "*'backprop_steps' is '0'*'all'*"           backprop_steps=0
set_says "*'nn_set' is 9*buffer_size = 8*"           nn_set=9 buffer_size=8
set_says "*'nn_min_buffer' is 8*buffer_size = 8*"    nn_set=4 nn_min_buffer=8 buffer_size=8
set_says "*'nn_set' is 0*w_ent*"                     nn_set=0
set_says "*preset*--preset*"                         preset=demo
set_says "*image = 3x32*3x32x32*auto*"               image=3x32
set_says "*image = 0x1x1*"                           image=0x1x1
bad "*how large are the images*image=CxHxW*"         init --preset code-mnist --out out.st --set "arch=conv 2 | mean | dense 1"
bad "*'data' is 'a#b'*"                              train --preset demo --data 'a#b' --out new
bad "*--data is missing*"                            train --preset demo --out new
bad "*arch=toy*another model*fixed in the file*"     sample --model m.st --out out.png --set arch=toy
bad "*classes =2*another model*"                     energy --model m.st --data digits:9 --out out.npy --set 'classes =2'

printf 'preset = demo\nfilters = 2\nfilters = 3\n' >twice.txt
printf 'filters = 2\npreset = demo\n' >late.txt
printf '# comment\n\nfilters 2\n' >plain.txt
printf 'filtres = 2\n' >near.txt
printf 'preset = demo\nsteps = 2\0003\n' >nul.txt
bad "*twice.txt, line 3*line 2 already*"             train --config twice.txt --data digits:9 --out new
bad "*late.txt, line 2*must come first*"             train --config late.txt --data digits:9 --out new
bad "*plain.txt, line 3*key = value*"                train --config plain.txt --data digits:9 --out new
bad "*near.txt, line 1*'filtres'*'filters'*"         train --config near.txt --data digits:9 --out new
bad "*nul.txt, line 2*NUL*"                          train --config nul.txt --data digits:9 --out new
bad "*none.txt*cannot be opened*"                    train --config none.txt --data digits:9 --out new

# ---- architectures: position in the line, the word there ----
arch_says() { bad "$1" init --preset demo --out out.st --set image=1x28x28 "arch=$2"; }
arch_says "*architecture, position 10, 'swich'*"     'conv 2 | swich | mean | dense 1'
arch_says "*architecture, position 6, '|'*"          'conv | mean | dense 1'
arch_says "*architecture, position 6, '0'*"          'conv 0 | mean | dense 1'
arch_says "*architecture, position 18, 'dense'*1x1*" 'conv 2 | swish | dense 1'
arch_says "*architecture, position 17, 'dense'*"     'conv 2 | mean | dense 2'
arch_says "*architecture, position 10, 'attn'*8 channels*" 'conv 2 | attn | mean | dense 1'
arch_says "*architecture, position 1, 'conv'*does not fit*" 'conv 2 31 1 1 | mean | dense 1'
arch_says "*architecture, position 33, 'full'*given twice*"      'full: conv 2 | mean | dense 1 ; full: conv 2 | mean | dense 1'
arch_says "*architecture, position 1, 'double'*"     'double: conv 2 | mean | dense 1'
arch_says "*architecture, position 25*end*"          'conv 2 | mean | dense 1|'
arch_says "*architecture, position *maxpool*nothing left to pool*" 'conv 2 | mean | maxpool | dense 1'
arch_says "*architecture, position 6, '999999999999999999999'*" 'conv 999999999999999999999 | mean | dense 1'
bad "*architecture, position *groups do not divide*" init --preset paper-cifar10 --out out.st --set groups=3

# ---- data files ----
# A file through the two commands that read data; neither may have an effect.
data_says()  # WORDS SPEC
{
    bad "$1" energy --model m.st --data "$2" --out out.npy
    bad "$1" train --preset code-mnist --set "arch=$net" $small image=1x28x28 --out new --data "$2"
}
zeros() { head -c "$1" /dev/zero; }
idx() { printf '\000\000\010\003\000\000\000\002\000\000\000\034\000\000\000\034'; }      # 2 images, 28x28

data_says "*nothing*cannot be opened*"               nothing
data_says "*digits:0*1 to *"                         digits:0
data_says "*digits:x*1 to *"                         digits:x
data_says "*run*folder without data*"                run
data_says "*nothing*not a folder*test:FOLDER*"       test:nothing
data_says "*m.st,*IMAGES,LABELS*"                    m.st,
: >empty;                                            data_says "*empty: empty, wanted*" empty
mkfifo pipe;                                         data_says "*pipe*wanted a regular file*" pipe
printf '\037\213\010\000' >packed.gz;                data_says "*packed.gz*gunzip*" packed.gz
echo 'not images at all' >words;                     data_says "*words*6e 6f 74*IDX*npy*CIFAR*" words

{ idx; zeros 1568; } >good.idx
$EXE energy --model m.st --data good.idx --out good.npy >/dev/null 2>stderr || { fail "a whole IDX is read"; cat stderr; }
{ idx; zeros 1567; } >short.idx;                     data_says "*short.idx*truncated*1567*1568*" short.idx
{ idx; zeros 1569; } >long.idx;                      data_says "*long.idx*too long*1569*1568*" long.idx
idx | head -c 15 >header.idx;                        data_says "*header.idx*ends at byte 15*16*" header.idx
{ printf '\000\000\010\003\377\377\377\377\377\377\377\377\377\377\377\377'; zeros 9; } >huge.idx
data_says "*huge.idx*byte 4*4294967295*wanted 1 to*" huge.idx
{ printf '\000\000\010\003\177\377\377\377\177\377\377\377\177\377\377\377'; zeros 9; } >product.idx
data_says "*product.idx*overflows*"                  product.idx
{ printf '\000\000\010\003\000\000\000\000\000\000\000\034\000\000\000\034'; } >none.idx
data_says "*none.idx*byte 4*is 0*wanted 1*"          none.idx
{ printf '\000\000\010\001\000\000\000\002\001\002'; } >labels.idx
data_says "*labels.idx*byte 0*0x00000801*0x00000803*" labels.idx
{ printf '\000\000\010\001\000\000\000\003\001\002\000'; } >three.idx
data_says "*three.idx*3 labels*wanted 2*good.idx*"   good.idx,three.idx
head -c 9 labels.idx >cut.idx;                       data_says "*cut.idx*truncated*" good.idx,cut.idx
data_says "*good.idx*0x00000803*0x00000801*"         good.idx,good.idx

zeros 3072 >short.bin;                               data_says "*short.bin*3072 bytes*3073*" short.bin
zeros 3074 >long.bin;                                data_says "*long.bin*3074 bytes*3073*" long.bin
{ zeros 3073; printf '\012'; zeros 3072; } >label.bin
data_says "*label.bin*byte 3073*label 10*image 1*"   label.bin
mkdir cifar; zeros 3073 >cifar/data_batch_1.bin
data_says "*cifar/data_batch_2.bin*cannot be opened*" cifar
zeros 3073 >cifar.bin
data_says "*cifar.bin*3x32x32*1x28x28*"              cifar.bin

# npy HEADER: version 1.0
npy() { printf '\223NUMPY\001\000'; printf "\\$(printf %03o $((${#1} % 256)))\\$(printf %03o $((${#1} / 256)))%s" "$1"; }
shape() { npy "{'descr': '<f4', 'fortran_order': False, 'shape': $1, }"; }
{ shape '(1, 1, 28, 28)'; zeros 3136; } >good-.npy
$EXE energy --model m.st --data good-.npy --out good.npy >/dev/null 2>stderr || { fail "a whole npy is read"; cat stderr; }
npy_says() { words=$1; shift; { "$@"; zeros 3136; } >bad.npy; data_says "*bad.npy*$words" bad.npy; }
npy_says "version 9*1, 2 or 3*"                      printf '\223NUMPY\011\000\002\000{}'
npy_says "byte 8*header of 65535 bytes*follow*"      printf '\223NUMPY\001\000\377\377{'
npy_says "*'shape'*"                                 npy "{'descr': '<f4', 'fortran_order': False, }"
npy_says "*wanted*"                                  npy "not a dictionary"
npy_says "*c8*wanted*"                               npy "{'descr': '<c8', 'fortran_order': False, 'shape': (1, 1, 28, 28), }"
npy_says "*True*wanted*"                             npy "{'descr': '<f4', 'fortran_order': True, 'shape': (1, 1, 28, 28), }"
npy_says "*wanted*"                                  npy "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (784,), }"
npy_says "*integers of 4 bytes*"                     npy "{'descr': '<i4', 'fortran_order': False, 'shape': (1, 1, 28, 28), }"
npy_says "*-1*wanted*"                               shape '(-1, 1, 28, 28)'
npy_says "*nan*wanted*"                              shape '(nan, 1, 28, 28)'
npy_says "*"                                         shape '(99999999999, 99999999999, 28, 28)'
npy_says "*wanted*"                                  shape '((((((((1, 1, 28, 28))))))))'
npy_says "*truncated*3136 bytes*1568 values*"        shape '(2, 1, 28, 28)'
npy_says "*too long*3136 bytes*783 values*"          shape '(1, 1, 27, 29)'
npy_says "*1 axes*"                                  shape '(784,)'
npy_says "*1x14x56*1x28x28*"                         shape '(1, 1, 14, 56)'
shape '(0, 1, 28, 28)' >bad.npy;                     data_says "*bad.npy*axis 0*size 0*wanted 1 to*" bad.npy
printf '\223NUM' >bad.npy;                           data_says "*bad.npy*" bad.npy
{ shape '(1, 1, 28, 28)'; zeros 400; printf '\000\000\300\177'; zeros 2732; } >nan.npy
data_says "*nan.npy*value 100 is *nan*finite*"       nan.npy
{ shape '(1, 1, 28, 28)'; zeros 3132; printf '\000\000\200\377'; } >inf.npy
data_says "*inf.npy*value 783 is -inf*finite*"       inf.npy

# ---- a model and its data ----
bad "*gmm:9*2x1x1*1x28x28*"                          energy --model m.st --data gmm:9 --out out.npy
bad "*gmm:9*2x1x1*1x28x28*"                          train --preset code-mnist --set "arch=$net" image=1x28x28 --data gmm:9 --out new
bad "*good.idx*no labels*3 classes*"                       energy --model c.st --data good.idx --out out.npy
bad "*digits:20*label*classes 0..2*"                         energy --model c.st --data digits:20 --out out.npy
bad "*good.idx*no labels*2 classes*"                 train --preset code-mnist --set "arch=$net" classes=2 --data good.idx --out new
bad "*digits:20*label*classes 0..2*"                 train --preset code-mnist --set "arch=$net" classes=3 --data digits:20 --out new
bad "*memory*"                                       train --preset paper-cifar10 --set memory=1 --data cifar.bin --out new

# ---- model files ----
# number N BYTES: little-endian; st HEADER: its length and itself.
le8() { printf "\\$(printf %03o $(($1 % 256)))\\$(printf %03o $(($1 / 256 % 256)))\\$(printf %03o $(($1 / 65536)))\\000\\000\\000\\000\\000"; }
st() { le8 ${#1}; printf %s "$1"; }
file_says()  # WORDS FILE
{
    bad "*$2*$1" info "$2"
    bad "*$2*$1" sample --model "$2" --out out.png --count 1
}
st_says() { words=$1; { st "$2"; zeros "$3"; } >bad.st; file_says "$words" bad.st; }
t='"dtype":"F32","shape":[2],"data_offsets"'
: >short.st;                                         file_says "ends at byte 0*8 bytes*" short.st
printf '\377\377\377\377\377\377\377\177{}' >far.st; file_says "byte 0*9223372036854775807*follow*" far.st
printf '\377\377\377\377\377\377\377\377{}' >far.st; file_says "byte 0*18446744073709551615*follow*" far.st
head -c 1000 m.st >cut.st;                           file_says "*" cut.st
{ cat m.st; zeros 1; } >long.st;                     file_says "*belong to none*" long.st
head -c $(($(wc -c <m.st) - 1)) m.st >short.st;      file_says "*data_offsets*" short.st
st_says "byte*wanted*"                               'hello' 8
st_says "*cuts off*"                                 '{"a' 8
st_says "*begins at data byte 4*wanted 8*overlaps*"  "{\"a\":{$t:[0,8]},\"b\":{$t:[4,12]}}" 12
st_says "*begins at data byte 12*wanted 8*no tensor*" "{\"a\":{$t:[0,8]},\"b\":{$t:[12,20]}}" 20
st_says "*two tensors named*a*"                      "{\"a\":{$t:[0,8]},\"a\":{$t:[8,16]}}" 16
st_says "*data_offsets*wanted begin*"                "{\"a\":{$t:[0,80]}}" 8
st_says "*data_offsets*wanted begin*"                "{\"a\":{$t:[8,0]}}" 8
st_says "*span 4 bytes*2 values*"                    "{\"a\":{$t:[0,4]}}" 4
st_says "*F16*wanted*"                               '{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}' 4
st_says "*dtype*"                                    '{"a":{"shape":[2],"data_offsets":[0,8]}}' 8
st_says "*wanted*"                                   '{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}' 8
st_says "*wanted*"                                   '{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}' 8
st_says "*wanted*"                                   '{"a":{"dtype":"F32","shape":[2e0],"data_offsets":[0,8]}}' 8
st_says "*wanted*"                                   '{"a":{"dtype":"F32","shape":["2"],"data_offsets":[0,8]}}' 8
st_says "*"                                          '{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}' 8
st_says "*"                                          '{"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,8]}}' 8
deep=$(printf '%2000s' '' | tr ' ' '[')
st_says "*nested*"                                   "{\"a\":$deep" 8
st_says "*nested*"                                   "{\"a\":{\"dtype\":\"F32\",\"shape\":[[2]],\"data_offsets\":[0,8]}}" 8
st_says "*icd.arch is missing*"                      '{}' 0
file_says "*" good.idx

# edit TO SED: m.st (or $from) with its header changed.
from=m.st
edit()
{
    set -- "$1" "$2" $(od -An -t u1 -N 4 $from)
    length=$(($3 + 256 * ($4 + 256 * ($5 + 256 * $6))))
    { tail -c +9 $from | head -c $length; echo; } | sed "$2" >header
    { st "$(cat header)"; tail -c +$((9 + length)) $from; } >"$1"
    if cmp -s "$1" $from; then fail "the header of $1 was changed"; fi
}
edit_says() { edit bad.st "$2"; file_says "$1" bad.st; }
edit_says "*full.00.conv.weight is missing*another architecture*"    's/"full.00.conv.weight"/"full.00.conv.weighu"/'
edit_says "*full.00.conv.weight*(1, 2, 5, 5)*wants (2, 1, 5, 5)*"    's/\[2,1,5,5\]/[1,2,5,5]/'
edit_says "*full.00.conv.weight*(2, 25)*wants (2, 1, 5, 5)*"         's/\[2,1,5,5\]/[2,25]/'
edit_says "*full.00.conv.bias*another type*F32 or F64*"              's/\("full.00.conv.bias":{"dtype":\)"F32"/\1"I32"/'
edit_says "*ema.full.00.conv.weight is missing*"                     's/"ema.full.00.conv.weight"/"buffer.images"/'
edit_says "*buffer.strange is not one*"                              's/{"__metadata__/{"buffer.strange":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"__metadata__/'
edit_says "*icd.config is missing*"                                  's/"icd.config"/"icd.xonfig"/'
edit_says "*icd.format is '2'*reads 1*"                              's/"icd.format":"1"/"icd.format":"2"/'
edit_says "*icd.iteration is '-1'*count*"                            's/"icd.iteration":"0"/"icd.iteration":"-1"/'
edit_says "*icd.config, line*'filtres'*'filters'*"                   's/filters = /filtres = /'
edit_says "*icd.config, line*'steps' is '0'*"                        's/nsteps = 2/nsteps = 0/; s/u000asteps = 2/u000asteps = 0/'
edit_says "*does not say the images' size*"                          's/image = 1x28x28/image = auto/'
edit_says "*icd.arch*position 6*"                                    's/"icd.arch":"full: conv 2/"icd.arch":"conv two/'
edit_says "*full.05.dense.weight is missing*another architecture*"   's/ | mean | dense 1/ | mean | swish | dense 1/'
edit_says "*full.03.dense.weight is missing*another architecture*"   's/ | swish | down 4 | mean | dense 1/ | swish | mean | dense 1/'
edit_says "*full.00.conv.weight*(2, 1, 5, 5)*wants (3, 1, 5, 5)*"    's/"full: conv 2/"full: conv 3/'

cp m.st nan.st
size=$(wc -c <m.st)
printf '\000\000\300\177' | dd of=nan.st bs=1 seek=$((size - 4)) conv=notrunc 2>/dev/null
file_says "*tensor ema.full.*value *nan*finite*" nan.st
set -- $(od -An -t u1 -N 4 m.st)
cp m.st inf.st
printf '\000\000\200\177' | dd of=inf.st bs=1 seek=$((8 + $1 + 256 * $2)) conv=notrunc 2>/dev/null
file_says "*tensor full.00.conv.weight*value 0 is inf*finite*" inf.st

# ---- steps ----
image() { shape "($1, 1, 28, 28)"; zeros $(($1 * 3136)); }
image 2 >p.npy; image 3 >s.npy; { shape '(1, 2, 1, 28, 28)'; zeros 6272; } >n.npy; image 5 >x.npy
step() { words=$1; shift; bad "$words" step --model m.st --out out.st "$@"; }
$EXE step --model m.st --positives p.npy --start p.npy --neighbours x.npy --noise n.npy --out good.st >/dev/null || fail "a step"
step "*p.npy has 2*s.npy 3*"                 --positives p.npy --start s.npy --neighbours x.npy --noise n.npy
step "*s.npy has 3*n.npy noise for 2*"       --positives s.npy --start s.npy --neighbours x.npy --noise n.npy
step "*x.npy*shape (5, 1, 28, 28)*wanted (K, N, 1, 28, 28)"    --positives p.npy --start p.npy --neighbours x.npy --noise x.npy
step "*n.npy*5 axes*wanted 4*"               --positives n.npy --start p.npy --neighbours x.npy --noise n.npy
step "*n.npy*shape (1, 2, 1, 28, 28)*wanted (N, 1, 28, 28)"      --positives p.npy --start n.npy --neighbours x.npy --noise n.npy
step "*backprop_steps = 2*n.npy has 1*"      --positives p.npy --start p.npy --neighbours x.npy --noise n.npy --set steps=2 backprop_steps=2
step "*nan.npy: value 100*"                  --positives nan.npy --start nan.npy --neighbours x.npy --noise n.npy
step "*inf.npy: value 783*"                  --positives p.npy --start p.npy --neighbours inf.npy --noise n.npy
step "*labels*not wanted*"                   --positives p.npy --start p.npy --neighbours x.npy --noise n.npy --labels l.npy
step "*nothing.npy*cannot be opened*"        --positives p.npy --start nothing.npy --neighbours x.npy --noise n.npy
{ npy "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }"; printf '\002\003'; } >l.npy
classes() { words=$1; shift; bad "$words" step --model c.st --out out.st --positives p.npy --start p.npy --neighbours x.npy --noise n.npy "$@"; }
classes "*3 classes*--positive-labels is missing*"
classes "*l.npy*label 1 is 3*wanted 0..2*"   --positive-labels l.npy
classes "*p.npy*shape (2, 1, 28, 28)*wanted (2)*"            --positive-labels p.npy

# ---- runs ----
bad "*run*exists*--resume*"                  train --preset code-mnist --data digits:9 --out run
bad "*out.png*exists*"                       train --preset code-mnist --data digits:9 --out out.png
bad "*nothing/checkpoint.safetensors*cannot be opened*" train --resume --out nothing
bad "*--out*empty*"                          train --resume --out ''
bad "*run*all 2 iterations are done*iterations=N*" train --resume --out run
bad "*filters=3*another model*"              train --resume --out run --set iterations=4 filters=3
bad "*replay buffer*7 samples*buffer_size*" train --resume --out run --set iterations=4 buffer_size=7
bad "*replay buffer*as float*buffer_store*" train --resume --out run --set iterations=4 buffer_store=float
bad "*gmm:9*2x1x1*1x28x28*"                  train --resume --out run --set iterations=4 --data gmm:9
bad "*nothing*cannot be opened*"             train --resume --out run --set iterations=4 --data nothing
bad "*no engine 'ref65'*"                    train --resume --out run --engine ref65 --set iterations=4
mkdir other && cp m.st other/checkpoint.safetensors
from=run/checkpoint.safetensors
for part in buffer.images buffer.labels buffer.seen; do
    edit other/checkpoint.safetensors "s/\"$part\":/\"ema.$part\":/"
    bad "*other/checkpoint.safetensors*ema.$part is not one*" train --resume --out other --set iterations=4
done
from=m.st
edit other/checkpoint.safetensors 's/"icd.iteration":"0"/"icd.iteration":"5"/'
bad "*adam.m.*cannot go on*"                 train --resume --out other --data digits:9
cp run/checkpoint.safetensors other/
echo 'not,a,log' >other/log.csv
bad "*other/log.csv*line 1*not,a,log*"       train --resume --out other --set iterations=4

# ---- places that cannot be written ----
bad "*out.png/x*"                            train --preset code-mnist --set "arch=$net" $small --data digits:9 --out out.png/x
bad "*out.png/x.st*Not a directory*"         init --preset demo --out out.png/x.st
bad "*nowhere/x.png*No such file*"           sample --model m.st --count 1 --out nowhere/x.png
bad "*nowhere/x.npy*No such file*"           energy --model m.st --data good.idx --out nowhere/x.npy
bad "*good.idx/a/new*cannot be made*Not a directory*" train --preset code-mnist --set "arch=$net" $small --data digits:9 --out good.idx/a/new
bad "*run*is a folder*"                      init --preset demo --out run
[ ! -c /dev/full ] || bad "*/dev/full*device*" init --preset demo --out /dev/full
if [ -c /dev/full ]; then
    $EXE info presets >/dev/full 2>stderr && fail "a full standard output is a failure"
    grep -q '^icd: standard output' stderr || fail "a full standard output is told: $(cat stderr)"
fi
if [ "$(id -u)" -ne 0 ]; then
    mkdir locked; chmod 555 locked
    bad "*locked/x.st*ermission denied*"     init --preset demo --out locked/x.st
    bad "*locked/new*ermission denied*"      train --preset code-mnist --set "arch=$net" $small --data digits:9 --out locked/new
fi

# ---- a disk that fills up ----
# A small disk where this user may mount one; everywhere, a limit on the size of a file (4096 bytes: 8 blocks of 512).
limited() { (trap '' XFSZ; ulimit -f "$1"; shift; exec "$@"); }
full()       # WORDS COMMAND...
{
    words=$1
    shift
    count=$((count + 1))
    "$@" >/dev/null 2>stderr </dev/null && fail "$*: a full disk is a failure"
    line=$(grep '^icd: ' stderr)
    case $line in $words) ;; *) fail "$* says $words: $line" ;; esac
    untouched "$*"
}
full "icd: out.st*written*too large*"        limited 8 $EXE init --preset demo --out out.st
full "icd: out.npy*written*too large*"       limited 8 $EXE sample --model m.st --out out.npy --count 9
full "icd: new/*written*too large*"          limited 4 $EXE train --preset code-mnist --set "arch=$net" $small --data digits:9 --out new

# In the middle of a run: each checkpoint is larger than the last, as the buffer fills.
grow() { $EXE train --preset code-mnist --set "arch=$net" $small checkpoint_every=1 buffer_store=float --data digits:20 --out "$@"; }
grow whole >/dev/null 2>&1 || fail "a run with a growing checkpoint"
survives()   # RUN
{
    [ ! -e "$1"/checkpoint.safetensors.tmp-* ] || fail "no half checkpoint is left in $1"
    $EXE info "$1/checkpoint.safetensors" >info 2>&1 || fail "the last checkpoint of $1 is whole: $(cat info)"
    at=$(sed -n 's/^iteration  *//p' info)
    [ "${at:-0}" -ge 1 ] && [ "$at" -lt 10 ] || fail "$1 was stopped by its disk in the middle: $at"
}
resumes()
{
    $EXE train --resume --out "$1" >/dev/null 2>stderr || { fail "$1 goes on when there is room"; cat stderr; }
    for f in checkpoint.safetensors log.csv; do same "$1/$f" "whole/$f"; done
}
(trap '' XFSZ; ulimit -f 150; grow limit >/dev/null 2>limit.err) && fail "a checkpoint over the limit is a failure"
grep -q '^icd: limit/checkpoint.safetensors: .*too large' limit.err || fail "it is told: $(grep '^icd:' limit.err)"
survives limit
resumes limit

mkdir "$disk"
if mount -t tmpfs -o size=192k none "$disk" 2>/dev/null; then
    (grow disk/run >/dev/null 2>disk.err) && fail "a full disk is a failure"
    grep -q '^icd: disk/run/.*No space left' disk.err || fail "a full disk is told: $(grep '^icd:' disk.err)"
    survives disk/run
    zeros 500000 >disk/filler 2>/dev/null
    cp disk/run/checkpoint.safetensors before
    full "icd: disk/run/*No space left*"     $EXE train --resume --out disk/run
    same disk/run/checkpoint.safetensors before
    full "icd: disk/x.st*No space left*"     $EXE init --preset demo --out disk/x.st
    full "icd: disk/*No space left*"         $EXE train --preset code-mnist --set "arch=$net" $small --data digits:9 --out disk/new
    [ "$(ls disk | tr '\n' ' ')" = "filler run " ] || fail "nothing is left behind on a full disk: $(ls disk)"
    mount -o remount,ro "$disk"
    bad "*disk/x.st*Read-only file system*"  init --preset demo --out disk/x.st
    bad "*disk/new*Read-only file system*"   train --preset code-mnist --set "arch=$net" $small --data digits:9 --out disk/new
    bad "*disk/run/*Read-only file system*"  train --resume --out disk/run
    mount -o remount,rw,size=4m "$disk"
    rm disk/filler
    resumes disk/run
else
    echo "NO SMALL DISK COULD BE MOUNTED: a full disk was tested by a limit on the size of files, a read-only one not at all"
fi

# ---- images that cannot be drawn can be learned; a picture of them cannot be had ----
{ shape '(3, 2, 9, 9)'; zeros 1944; } >two.npy
$EXE train --preset code-mnist --set "arch=$net" $small iterations=2 --data two.npy --out two >stdout 2>stderr || { fail "2 channels"; cat stderr; }
grep -q 'images of 2 channels.*none will be drawn' stdout || fail "it is told that no grids will be drawn"
bad "*out.png*2 channels*1 or 3*"            sample --model two/checkpoint.safetensors --out out.png --count 1
$EXE sample --model two/checkpoint.safetensors --out two.out.npy --count 1 >/dev/null || fail "as an array they can be had"

# ---- a run that leaves the finite numbers: the last good checkpoint stays ----
train --data digits:20 --out wild --set iterations=50 checkpoint_every=1 lr=1000 step_size=1e9 grad_clip=0 noise=1e6 clamp=off >/dev/null 2>wild.err \
    && fail "a run that diverges is a failure"
grep -q '^icd: iteration [0-9]*: .*; the last good state is in wild/checkpoint.safetensors$' wild.err || fail "it is told: $(tail -n 1 wild.err)"
$EXE info wild/checkpoint.safetensors >/dev/null 2>stderr || fail "its last checkpoint loads: $(cat stderr)"

# ---- a device takes room for as many images as a batch has, and no more ----
if $EXE info engines | grep -q '^ *cuda-emulated '; then
    train --data digits:20 --out device --set iterations=1 >/dev/null 2>&1 || fail "a run to ask about"
    $EXE info device/checkpoint.safetensors --engine cuda-emulated --set batch=3 >stdout 2>stderr || fail "info of a device: $(cat stderr)"
    grep -q 'in parts of 4 images$' stdout || fail "parts of 4 images for a batch of 3: $(tail -n 1 stdout)"
fi

[ $bad -eq 0 ] && echo "$count refusals of one line each"
exit $((bad > 0))
