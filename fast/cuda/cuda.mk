# cuda.mk: everything that compiles fast/cuda. Included by the Makefile before its own rules.
#   EMULATE=1          the engine cuda-emulated: the sources by a C++17 compiler, to run on the CPU; the default where CC has
#                      one beside it and no CFLAGS or LDFLAGS are given. EMULATE=0: not
#   EMULATE=checked    the same, every access of its kernels looked at: races, bounds, what nothing was written to
#   EMULATE=sanitized  the same by the address and undefined-behaviour sanitizers (the C side: CFLAGS and LDFLAGS)
#   CUDA=1             the engine cuda: by nvcc, one fat binary for sm_75 and up, or CUDA_ARCH=90 for one; from CUDA_HOME
CUDA      ?= 0
CUDA_HOME ?= /usr/local/cuda
CUDA_ARCH ?= 75 80 86 89 90 100 120
NVCC      ?= $(firstword $(wildcard $(CUDA_HOME)/bin/nvcc) $(shell command -v nvcc 2>/dev/null))
CUSRC     := $(wildcard fast/cuda/*.cu)
EMULATOR  := $(wildcard fast/cuda/emulate/*.cpp)

# The C++ compiler of CC's name.
ifeq ($(origin CXX),default)
CXX       := $(patsubst %/cc,%/c++,$(patsubst cc,c++,$(subst gcc,g++,$(subst clang,clang++,$(CC)))))
endif
# All of C++ is in the program: nothing of it must be there when it runs.
CXXLIBS   := -l:libstdc++.a -lm -static-libgcc
ifeq ($(origin EMULATE),undefined)
EMULATE   := 0
ifneq ($(strip $(GIVEN) $(LDFLAGS)),)
NO_CXX    := CFLAGS or LDFLAGS are given: EMULATE=1 adds it
else ifneq ($(shell echo 'int main() { return *new int(0); }' | $(CXX) -std=c++17 -x c++ -S -o - - 2>/dev/null | \
                    grep -v addrsig | $(CC) -x assembler - -x none -o /dev/null $(CXXLIBS) >/dev/null 2>&1 && echo links),links)
NO_CXX    := $(CXX) does not make C++17 with a static libstdc++ that $(CC) links
else
EMULATE   := 1
endif
endif
ABSENT    := $(if $(NO_CXX),the engine cuda-emulated ($(NO_CXX)))
ifneq ($(CUDA),1)
ABSENT    += $(if $(ABSENT),and )the engine cuda ($(if $(NVCC),CUDA=1 adds it,no nvcc in $(CUDA_HOME) nor in the PATH))
endif

ifneq ($(filter-out 0 1 checked sanitized,$(EMULATE)),)
$(error EMULATE=$(EMULATE): 0, 1, checked or sanitized is wanted)
endif
LINK_sanitized := -fsanitize=address,undefined
ifneq ($(EMULATE),0)
TABLES    += -DFAST_CUDA_EMULATED
LIBS      += $(CXXLIBS) $(LINK_$(EMULATE))
EMULATED   = $(EMULATED_$(EMULATE))
endif
ifeq ($(CUDA),1)
ifeq ($(NVCC),)
$(error CUDA=1 wants nvcc, and there is none in CUDA_HOME=$(CUDA_HOME) nor in the PATH)
endif
TABLES    += -DFAST_CUDA
LIBS      += -L$(CUDA_HOME)/lib64 -lcudart_static -ldl -lrt -lstdc++
DEVICE    := $(CUSRC:%.cu=$(B)/cuda/device/%.o)
endif
# backend.o lists the tables: compiled again when others are asked for.
$(B)/fast/backend.o: override CFLAGS += $(TABLES)
$(B)/fast/backend.o: $(B)/tables
$(B)/tables: FORCE
	@mkdir -p $(B)
	@echo '$(TABLES) $(EMULATE)' | cmp -s - $@ || echo '$(TABLES) $(EMULATE)' >$@
FORCE:
.PHONY: FORCE

# For any processor that has a fused multiply-add.
$(B)/cuda/engine/%.o: %.cu
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS_EMULATE) $(if $(filter x86_64,$(TARGET)),-mavx2 -mfma) -O2 -MMD -MP -x c++ -c -o $@ $<
NVCCFLAGS := -std=c++17 -O3 --fmad=false -I. -Werror all-warnings
FATBINARY := $(foreach a,$(CUDA_ARCH),-gencode arch=compute_$a,code=sm_$a) \
             -gencode arch=compute_$(lastword $(CUDA_ARCH)),code=compute_$(lastword $(CUDA_ARCH))
$(B)/cuda/device/%.o: %.cu
	@mkdir -p $(@D)
	$(NVCC) $(NVCCFLAGS) -Xcompiler -Wall,-Wextra,-O2 --threads 2 $(FATBINARY) -MMD -MF $(@:.o=.d) -c -o $@ $<

# ---- the tests' builds of the same sources, for the CPU ----
# Three: plain (quick), checked (every access goes to the checker, by the calls that
# -fsanitize=thread and -fsanitize=bounds make a compiler emit), sanitized (address and undefined behaviour).
CXXFLAGS_EMULATE = -std=c++17 -pedantic -Wno-unknown-pragmas $(WARN) -g1 -ffp-contract=off -fno-optimize-sibling-calls -I. \
                   $(GIVEN)
CLANGXX   := $(if $(shell $(CXX) --version 2>/dev/null | grep clang),1)
NATIVE    := $(if $(TARGET),-march=native)
CU_plain   = -O3 $(NATIVE)
CU_checked = -O1 -DEMULATE_CHECKED -fsanitize=thread \
             $(if $(CLANGXX),-fsanitize=array-bounds -mllvm -tsan-instrument-read-before-write=1,-fsanitize=bounds-strict)
CU_sanitized = -O1 -fsanitize=address,undefined -fno-sanitize-recover=all
EMULATE_plain     = -O2
EMULATE_checked   = -O2
EMULATE_sanitized = $(CU_sanitized)

CUTESTS   := $(patsubst tests/cuda/%.cu,%,$(filter-out tests/cuda/check_%,$(wildcard tests/cuda/*.cu)))
define per_cuda_build
EMULATOR_$1 := $(patsubst %.cpp,$(B)/cuda/$1/%.o,$(EMULATOR))
EMULATOR_$1 := $$(filter-out $(if $(filter checked,$1),,%/hooks.o),$$(EMULATOR_$1))
EMULATED_$1 := $(CUSRC:%.cu=$(B)/cuda/$1/%.o) $$(EMULATOR_$1)
$(B)/cuda/$1/%.o: %.cpp
	@mkdir -p $$(@D)
	$$(CXX) $$(CXXFLAGS_EMULATE) $$(EMULATE_$1) -MMD -MP -c -o $$@ $$<
$(B)/cuda/$1/%.o: %.cu
	@mkdir -p $$(@D)
	$$(CXX) $$(CXXFLAGS_EMULATE) $$(CU_$1) -MMD -MP -x c++ -c -o $$@ $$<
.PRECIOUS: $(B)/cuda/$1/%.o
$(B)/cuda/$1/test_%: $(B)/cuda/$1/tests/cuda/%.o $$(EMULATOR_$1)
	$$(CXX) $$(LDFLAGS) $$(LINK_$1) -o $$@ $$^ -lpthread
endef
$(foreach b,plain checked sanitized,$(eval $(call per_cuda_build,$b)))
EMULATED_1 := $(CUSRC:%.cu=$(B)/cuda/engine/%.o) $(EMULATOR_plain)

CUDA_TESTS := $(foreach b,plain checked sanitized,$(CUTESTS:%=$(B)/cuda/$b/test_%))
# The emulator's own tests: planted faults, good kernels in every order, counts by hand, layouts and roundings, streams.
cuda-emulate-check: $(CUDA_TESTS)
	@mkdir -p $(B)/tests
	@B=$(B) sh tests/run.sh $(CUDA_TESTS)

# The engine itself, in other orders, under the checker and the sanitizers: CFLAGS and LDFLAGS are not for this.
cuda-emulate-engine:
	+for e in 1:plain checked:checked sanitized:sanitized; do \
	    $(MAKE) B=$(B)/engine EXE=$(B)/engine/icd-$${e#*:} EMULATE=$${e%:*} OPT=-O2 all || exit 1; done
	@B=$(B)/engine sh tests/cuda/engine.sh

# ---- what nvcc and ptxas say; without nvcc these are skipped ----
# That the source rules hold: the emulator's good kernels for every architecture without a warning.
cuda-nvcc-check:
ifeq ($(NVCC),)
	@echo 'no nvcc: skipped'
else
	@mkdir -p $(B)/cuda
	$(NVCC) $(NVCCFLAGS) -arch=all-major -Xcompiler -Wall,-Wextra,-Wconversion -c -o $(B)/cuda/kernels.nvcc.o tests/cuda/kernels.cu
endif
# No spill, no stack frame, no more registers than tests/cuda/registers.txt allows: exit 77 without nvcc.
cuda-ptxas-check:
	NVCC=$(NVCC) python3 -B tests/cuda/ptxas.py
# The PTX of every kernel, as text: make cuda-ptx CUDA_ARCH=80 leaves it in $(B)/cuda/ptx.
cuda-ptx: $(patsubst fast/cuda/%.cu,$(B)/cuda/ptx/%.ptx,$(CUSRC))
$(B)/cuda/ptx/%.ptx: fast/cuda/%.cu
	@mkdir -p $(@D)
	$(NVCC) $(NVCCFLAGS) -arch=compute_$(firstword $(CUDA_ARCH)) -ptx -o $@ $<
# ---- for who has a GPU: one report to send back; CHECK_ENGINE=cuda-emulated does the same on the CPU, and times nothing ----
CHECK_ENGINE ?= cuda
cuda-check:
	@+MAKE="$(MAKE)" python3 -B tests/cuda/check_device.py --engine $(CHECK_ENGINE) --build $(B) --exe $(EXE) $(CHECK)
# What it reports is true: programs that fail in every way, then the emulated device; EMULATE=1, or the former alone.
cuda-check-test: $(if $(filter 1,$(EMULATE)),$(EXE) $(B)/cuda/check_device)
	python3 -B tests/cuda/check_device_test.py $(if $(filter 1,$(EMULATE)),$(B) $(EXE))
$(B)/cuda/check_device: $(B)/tests/cuda/check_device.o $(filter-out $(B)/icd.o,$(CLI)) $(LIB) \
    $(B)/cuda/$(if $(filter 1,$(CUDA)),device,engine)/tests/cuda/check_device_times.o
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter-out %.a,$^) $(LIB) $(LIBS)

# What ICD_CUDA_TRACE writes is what that PTX takes.
cuda-trace-check: cuda-ptx $(EXE)
	python3 -B tests/cuda/trace.py --exe $(abspath $(EXE)) --ptx $(B)/cuda/ptx
.PHONY: cuda-trace-check cuda-emulate-engine
.PHONY: cuda-check cuda-check-test cuda-emulate-check cuda-nvcc-check cuda-ptxas-check cuda-ptx
.SECONDARY:

# ---- evidence without a device ----
# fast/cuda/EVIDENCE.md by ptxas and the counting emulator, from the engine's own launches: minutes, and 4 GiB of memory. The
# check makes it again, compares, and judges its claims. Exit 77 without nvcc.
cuda-evidence cuda-evidence-check: $(B)/cuda/checked/evidence
	NVCC=$(NVCC) python3 -B tests/cuda/evidence.py $< $(if $(findstring check,$@),--check)
$(B)/cuda/checked/evidence: $(B)/tests/cuda/evidence.o $(B)/cuda/checked/tests/cuda/evidence_slots.o \
    $(CUSRC:%.cu=$(B)/cuda/checked/%.o) $(EMULATOR_checked) $(LIB)
	$(CXX) -o $@ $^ -lm -lpthread
.PHONY: cuda-evidence cuda-evidence-check
