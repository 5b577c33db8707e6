#!/bin/sh
# seeds.sh HARNESS DIR: a few small inputs for fuzz_HARNESS into DIR, so that it starts from what is well-formed.
dir=${2:?usage: seeds.sh HARNESS DIR}
mkdir -p "$dir" && cd "$dir" || exit 1

# npy FILE DESCR SHAPE DATA: version 1, a header of 80 bytes.
npy() {
    printf '\223NUMPY\001\000\120\000%-79s\n' "{'descr': '$2', 'fortran_order': False, 'shape': $3, }" >"$1"
    printf "$4" >>"$1"
}
# st FILE HEADER DATA: a header of under 256 bytes.
st() {
    printf "\\$(printf %03o ${#2})\000\000\000\000\000\000\000%s" "$2" >"$1"
    printf "$3" >>"$1"
}

case $1 in
idx)
    printf '\000\000\010\003\000\000\000\002\000\000\000\002\000\000\000\003abcdefghijkl' >images
    printf '\000\000\010\001\000\000\000\003\007\000\032' >labels ;;
cifar)
    head -c 3073 /dev/zero >one
    { cat one; printf '\011'; head -c 3072 /dev/zero; } >two ;;
npy)
    npy u1 '|u1' '(1, 2, 2, 3)' abcdefghijkl
    npy f4 '<f4' '(2, 1)' '\000\000\040\300\000\000\200\077'
    npy f8 '>f8' '(1, 1)' '\300\004\000\000\000\000\000\000'
    npy i8 '<i8' '()' '\001\000\000\000\000\000\000\000'
    npy i4 '>i4' '(2, 0, 5)' '' ;;
safetensors)
    st empty '{}' ''
    st two '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[3],"data_offsets":[4,7]}}' abcdefg
    st meta '{"__metadata__":{"k":"v\u00fc\n\ud83d\ude00"},"s":{"dtype":"I64","shape":[],"data_offsets":[0,8]}}' abcdefgh ;;
arch)
    printf 'full: conv 8 | swish | res 8 | down 16 | attn | nonlocal | maxpool | mean | dense 1' >one
    printf 'full: conv F 5 2 2 | lrelu 0.2 | flatten | dense 1; half: conv F/2 | mean | dense 1; quarter: conv 2F | mean | dense 1' >scales
    printf 'code-mnist' >name ;;
config)
    printf 'steps = 20\nstep_size = 1e2 # a comment\nnoise_order = before\nbackprop_steps = all\n' >some
    printf 'arch = full: conv 8 | swish | mean | dense 1\nseed = 18446744073709551615\nclamp = off\n' >more ;;
*)
    printf 'a' >one ;;
esac
