# make            build ./icd
# make check      every test that needs no network and no package: under ten minutes on two cores
# make demo       train on drawn digits, in minutes; pictures in runs/demo
# Other targets are listed by `make help`.

CC      ?= cc
GIVEN   := $(CFLAGS)
OPT     ?= -O3
WARN    := -Wall -Wextra -Wshadow -Wconversion
# -ffp-contract=off: results do not depend on whether the compiler fuses a multiply and an add.
override CFLAGS += -std=c99 -pedantic $(WARN) $(OPT) -ffp-contract=off -D_POSIX_C_SOURCE=200809L -D_FILE_OFFSET_BITS=64 -I.
LIBS    := -lm -lpthread

B       ?= build
EXE     ?= icd

COMMON  := $(patsubst %.c,$(B)/%.o,$(wildcard common/*.c))
CLI     := $(patsubst %.c,$(B)/%.o,icd.c $(wildcard cli/*.c))
# ref/ and verify/routes*.c are compiled three times: float, double, double complex (see ref/real.h).
ROUTES  := $(wildcard verify/routes*.c)
REFSRC  := $(wildcard ref/*.c) $(ROUTES)
REF     := $(foreach r,32 64 complex,$(patsubst %.c,$(B)/real$(r)/%.o,$(REFSRC)))
# fast/cpu is compiled once per instruction set that the target can have, chosen between at run time (fast/cpu/simd.h).
TARGET  := $(shell $(CC) $(CFLAGS) -dM -E -x c /dev/null | sed -n 's/^.define __\(x86_64\|aarch64\)__ .*/\1/p')
ISAS    := $(if $(filter x86_64,$(TARGET)),avx512 avx2) $(if $(filter aarch64,$(TARGET)),neon)
ISA_avx512 := -mavx512f -mavx512vl -mavx512dq -mavx512bw -mfma -mavx2
ISA_avx2   := -mavx2 -mfma
ISA_neon   :=
CPUSRC  := $(wildcard fast/cpu/*.c)
FAST    := $(patsubst %.c,$(B)/%.o,$(wildcard fast/*.c fast/portable/*.c)) $(foreach i,$(ISAS),$(patsubst %.c,$(B)/$i/%.o,$(CPUSRC)))
VERIFY  := $(patsubst %.c,$(B)/%.o,$(filter-out $(ROUTES),$(wildcard verify/*.c)))
LIB     := $(B)/libicd.a

all:
include fast/cuda/cuda.mk

# tests/test_ref_*.c see ref/'s own headers and are built once per precision they name in their first line.
TESTS     := $(patsubst tests/%.c,$(B)/tests/%,$(filter-out tests/test_ref_%.c tests/test_engine%.c,$(wildcard tests/test_*.c)))
REFTESTS  := $(foreach r,32 64 complex,$(patsubst tests/%.c,$(B)/tests/%_$(r),$(wildcard tests/test_ref_*.c)))

# tests/test_engine*.c hold for every engine, and are built once for each.
ENGINES     := ref ref64 portable avx2 avx512 neon
ENGINETESTS := $(foreach e,$(ENGINES),$(patsubst tests/%.c,$(B)/tests/%_$e,$(wildcard tests/test_engine*.c)))

all: $(EXE)
	$(if $(ABSENT),@echo '$(EXE) is without $(ABSENT)')

$(EXE): $(CLI) $(LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(CLI) $(LIB) $(LIBS)

$(LIB): $(COMMON) $(REF) $(FAST) $(EMULATED) $(DEVICE) $(VERIFY)
	@rm -f $@
	ar rcs $@ $^

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<
define per_isa
$(B)/$1/%.o: %.c
	@mkdir -p $$(@D)
	$(CC) $(CFLAGS) $(ISA_$1) -DFAST_ISA_$1 -MMD -MP -c -o $$@ $$<
endef
$(foreach i,$(ISAS),$(eval $(call per_isa,$i)))
$(B)/real32/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -DREF_REAL=32 -MMD -MP -c -o $@ $<
$(B)/real64/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -DREF_REAL=64 -MMD -MP -c -o $@ $<
$(B)/realcomplex/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -DREF_REAL=128 -MMD -MP -c -o $@ $<

$(B)/tests/test_%: tests/test_%.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -MMD -MP -o $@ $< $(LIB) $(LIBS)
$(B)/tests/test_ref_%_32: tests/test_ref_%.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -DREF_REAL=32 -MMD -MP -o $@ $< $(LIB) $(LIBS)
$(B)/tests/test_ref_%_64: tests/test_ref_%.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -DREF_REAL=64 -MMD -MP -o $@ $< $(LIB) $(LIBS)
$(B)/tests/test_ref_%_complex: tests/test_ref_%.c $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -DREF_REAL=128 -MMD -MP -o $@ $< $(LIB) $(LIBS)

define per_engine
$(B)/tests/test_engine_$1 $(B)/tests/test_engine_memory_$1: $(B)/tests/%_$1: tests/%.c $(LIB)
	@mkdir -p $$(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) $(if $(filter ref%,$1),-DFAST=0 -DOPEN=icd_engine_$1_open,-DFAST=1 -DTABLE=$1) \
	    -DREAL_BYTES=$(if $(filter ref64,$1),8,4) -MMD -MP -o $$@ $$< $(LIB) $(LIBS)
endef
$(foreach e,$(ENGINES),$(eval $(call per_engine,$e)))

# JOBS=2 tests at a time; SKIP: programs to leave out (where an emulator of a machine would take hours).
JOBS   ?= 2
CHECKS ?= $(sort $(wildcard tests/check_*.sh))
CHECKED := $(filter-out $(SKIP:%=$(B)/tests/%),$(TESTS) $(REFTESTS) $(ENGINETESTS))
check: $(EXE) $(CHECKED)
	@B=$(B) EXE=$(abspath $(EXE)) CC="$(CC)" RUN="$(RUN)" JOBS=$(JOBS) sh tests/run.sh $(CHECKED) $(CHECKS)

# Every comparison of `icd verify`: derivatives by independent routes.
verify: $(EXE)
	./$(EXE) verify

# What kernels and an iteration take: `icd bench --help`.
bench: $(EXE)
	./$(EXE) bench --preset code-mnist --set filters=16
	./$(EXE) bench --preset code-mnist --only convolutions,iteration --repeats 3
	./$(EXE) bench --preset code-cifar10 --only convolutions,iteration --repeats 3 --set batch=16

# The same work in PyTorch and oneDNN, in turn with ours, as ratios: tests/peer/run.py --help. PEER=--quick takes minutes.
bench-peer: $(EXE)
	EXE=$(abspath $(EXE)) python3 -B tests/peer/run.py $(PEER)

# A model of drawn digits, and samples from it.
demo: $(EXE)
	rm -rf runs/demo
	./$(EXE) train --preset demo --data digits --out runs/demo
	./$(EXE) sample --model runs/demo/checkpoint.safetensors --out runs/demo/samples.png
	@echo 'look at runs/demo/samples.png, and at runs/demo/samples/ for how it got there'

# Needs Debian's python3-torch: every model and setting of `icd step` against PyTorch in double precision.
oracle: $(EXE)
	EXE=$(abspath $(EXE)) ORACLE= sh tests/check_oracle.sh

# Faults put into copies of the code, one at a time: each must turn a test red.
mutants:
	sh tests/mutants.sh
cuda-mutants:
	sh tests/mutants.sh tests/mutants_cuda.txt

# Needs clang's libFuzzer: SECONDS each for the parsers of data, checkpoints, settings and architectures.
fuzz:
	sh tests/fuzz/run.sh $(SECONDS)
SECONDS ?= 60

# Where an equation, a line of an algorithm or a row of a table is in the code: make find KEY=ICD:7 (no KEY: the list).
find:
	@sh tests/check_paper_map.sh --find '$(KEY)'

help:
	@sed -n '1,4p' Makefile | sed 's/^# //'
	@echo 'make verify     derivatives by independent routes, as a table'
	@echo 'make bench      kernels beside the machine'"'"'s peaks, milliseconds of the parts of an iteration'
	@echo 'make bench-peer the same work in PyTorch and oneDNN, in turn with ours (PEER=--quick)'
	@echo 'make oracle     icd step against PyTorch (python3-torch)'
	@echo 'make mutants    faults put into the code: each must be caught; make cuda-mutants: into the CUDA kernels'
	@echo 'make fuzz       libFuzzer on every parser, SECONDS=60 each (clang)'
	@echo 'make find KEY=ICD:7   where an equation is in the map and in the code'
	@echo 'make EMULATE=0  without the engine cuda-emulated: the CUDA kernels, executed on the CPU (it wants a C++17 compiler);'
	@echo '                EMULATE=checked, EMULATE=sanitized: with every access of theirs looked at (fast/cuda/cuda.mk)'
	@echo 'make CUDA=1     also the engine cuda, for sm_75 and up, or CUDA_ARCH=90 for one (the CUDA toolkit)'
	@echo 'make cuda-emulate-check cuda-nvcc-check cuda-ptxas-check   the emulator'"'"'s tests; what nvcc and ptxas say of the kernels'
	@echo 'make cuda-evidence cuda-evidence-check   fast/cuda/EVIDENCE.md, what is known of the kernels without a GPU; is it true?'
	@echo 'make cuda-ptx CUDA_ARCH=80   every kernel as PTX'
	@echo 'make cuda-check   for who has a GPU: verify, bench, cuDNN, PyTorch and the estimates in one report'
	@echo 'make clean'

clean:
	rm -rf $(B) $(EXE)

.PHONY: all check verify bench bench-peer demo oracle mutants cuda-mutants fuzz find help clean
-include $(shell find $(B) -name '*.d' 2>/dev/null)
