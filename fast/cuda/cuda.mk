# cuda.mk: .cu sources compiled for the CPU against fast/cuda/emulate, and its own tests. Needs a C++17 compiler, nothing else.
# Three builds of the same sources: plain (quick), checked (every access goes to the checker, by the calls that
# -fsanitize=thread and -fsanitize=bounds make a compiler emit), sanitized (address and undefined behaviour).
CXXFLAGS_EMULATE = -std=c++17 -pedantic -Wno-unknown-pragmas $(WARN) -g1 -ffp-contract=off -fno-optimize-sibling-calls -I.
CLANGXX   := $(if $(shell $(CXX) --version 2>/dev/null | grep clang),1)
NATIVE    := $(if $(TARGET),-march=native)
CU_plain   = -O3 $(NATIVE)
CU_checked = -O1 -DEMULATE_CHECKED -fsanitize=thread \
             $(if $(CLANGXX),-fsanitize=array-bounds -mllvm -tsan-instrument-read-before-write=1,-fsanitize=bounds-strict)
CU_sanitized = -O1 -fsanitize=address,undefined -fno-sanitize-recover=all
EMULATE_plain     = -O2
EMULATE_checked   = -O2
EMULATE_sanitized = $(CU_sanitized)
LINK_sanitized    = -fsanitize=address,undefined

CUTESTS   := $(patsubst tests/cuda/%.cu,%,$(wildcard tests/cuda/*.cu))
define per_cuda_build
EMULATOR_$1 := $(patsubst %.cpp,$(B)/cuda/$1/%.o,$(wildcard fast/cuda/emulate/*.cpp))
EMULATOR_$1 := $$(filter-out $(if $(filter checked,$1),,%/hooks.o),$$(EMULATOR_$1))
$(B)/cuda/$1/%.o: %.cpp
	@mkdir -p $$(@D)
	$$(CXX) $$(CXXFLAGS_EMULATE) $$(EMULATE_$1) -MMD -MP -c -o $$@ $$<
$(B)/cuda/$1/%.o: %.cu
	@mkdir -p $$(@D)
	$$(CXX) $$(CXXFLAGS_EMULATE) $$(CU_$1) -MMD -MP -x c++ -c -o $$@ $$<
.PRECIOUS: $(B)/cuda/$1/%.o
$(B)/cuda/$1/test_%: $(B)/cuda/$1/tests/cuda/%.o $$(EMULATOR_$1)
	$$(CXX) $$(LINK_$1) -o $$@ $$^ -lpthread
endef
$(foreach b,plain checked sanitized,$(eval $(call per_cuda_build,$b)))

CUDA_TESTS := $(foreach b,plain checked sanitized,$(CUTESTS:%=$(B)/cuda/$b/test_%))
# The emulator's own tests: planted faults, good kernels in every order, counts by hand, layouts and roundings, streams.
cuda-emulate-check: $(CUDA_TESTS)
	@mkdir -p $(B)/tests
	@B=$(B) sh tests/run.sh $(CUDA_TESTS)
# That the source rules hold: the good kernels for every architecture by nvcc, where there is one, without a warning.
NVCC := $(firstword $(shell command -v nvcc 2>/dev/null) $(wildcard /usr/local/cuda/bin/nvcc))
cuda-nvcc-check:
ifeq ($(NVCC),)
	@echo 'no nvcc: skipped'
else
	@mkdir -p $(B)/cuda
	$(NVCC) -std=c++17 -arch=all-major --fmad=false -Werror all-warnings -Xcompiler -Wall,-Wextra,-Wconversion \
	    -I. -c -o $(B)/cuda/kernels.nvcc.o tests/cuda/kernels.cu
endif
.PHONY: cuda-emulate-check cuda-nvcc-check

# For the device: one fat binary for sm_75 and up, or CUDA_ARCH=90 for one. Needs the CUDA toolkit, in CUDA_HOME.
CUDA_HOME ?= /usr/local/cuda
NVCC      ?= $(firstword $(wildcard $(CUDA_HOME)/bin/nvcc) nvcc)
CUDA_ARCH ?= 75 80 86 89 90 100 120
NVCCFLAGS := -std=c++17 -O3 --fmad=false -I. -Werror all-warnings -Xcompiler -Wall,-Wextra,-O2 --threads 2 \
             $(foreach a,$(CUDA_ARCH),-gencode arch=compute_$a,code=sm_$a) \
             $(foreach a,$(lastword $(CUDA_ARCH)),-gencode arch=compute_$a,code=compute_$a)
$(B)/cuda/device/%.o: %.cu
	@mkdir -p $(@D)
	$(NVCC) $(NVCCFLAGS) -MMD -MF $(@:.o=.d) -c -o $@ $<

# The PTX of every kernel, as text: make cuda-ptx CUDA_ARCH=80 leaves it in $(B)/cuda/ptx.
cuda-ptx: $(patsubst fast/cuda/%.cu,$(B)/cuda/ptx/%.ptx,$(wildcard fast/cuda/*.cu))
$(B)/cuda/ptx/%.ptx: fast/cuda/%.cu
	@mkdir -p $(@D)
	$(NVCC) -std=c++17 -O3 --fmad=false -I. -Werror all-warnings -arch=compute_$(firstword $(CUDA_ARCH)) -ptx -o $@ $<
.PHONY: cuda-ptx

# What ptxas makes of them: no spill, no stack frame, no more registers than tests/cuda/registers.txt allows. 77 without nvcc.
cuda-ptxas-check:
	CUDA_HOME=$(CUDA_HOME) python3 -B tests/cuda/ptxas.py
.PHONY: cuda-ptxas-check
