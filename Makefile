# make            build ./icd
# make check      every test that needs no network and no package: under ten minutes on two cores
# make demo       train on drawn digits, in minutes; pictures in runs/demo
# Other targets are listed by `make help`.

CC      ?= cc
OPT     ?= -O3
WARN    := -Wall -Wextra -Wshadow -Wconversion
# -ffp-contract=off: results do not depend on whether the compiler fuses a multiply and an add.
override CFLAGS += -std=c99 -pedantic $(WARN) $(OPT) -ffp-contract=off -D_POSIX_C_SOURCE=200809L -D_FILE_OFFSET_BITS=64 -I.
LIBS    := -lm -lpthread

B       ?= build
EXE     ?= icd

COMMON  := $(patsubst %.c,$(B)/%.o,$(wildcard common/*.c))
CLI     := $(patsubst %.c,$(B)/%.o,icd.c $(wildcard cli/*.c))
# ref/ and verify/routes.c are compiled three times: float, double, double complex (see ref/real.h).
REFSRC  := $(wildcard ref/*.c) verify/routes.c
REF     := $(foreach r,32 64 complex,$(patsubst %.c,$(B)/real$(r)/%.o,$(REFSRC)))
VERIFY  := $(patsubst %.c,$(B)/%.o,$(filter-out verify/routes.c,$(wildcard verify/*.c)))
LIB     := $(B)/libicd.a

# tests/test_ref_*.c see ref/'s own headers and are built once per precision they name in their first line.
TESTS     := $(patsubst tests/%.c,$(B)/tests/%,$(filter-out tests/test_ref_%.c,$(wildcard tests/test_*.c)))
REFTESTS  := $(foreach r,32 64 complex,$(patsubst tests/%.c,$(B)/tests/%_$(r),$(wildcard tests/test_ref_*.c)))

all: $(EXE)

$(EXE): $(CLI) $(LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(CLI) $(LIB) $(LIBS)

$(LIB): $(COMMON) $(REF) $(VERIFY)
	@rm -f $@
	ar rcs $@ $^

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<
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

check: $(EXE) $(TESTS) $(REFTESTS)
	@B=$(B) EXE=./$(EXE) sh tests/run.sh $(TESTS) $(REFTESTS) $(sort $(wildcard tests/check_*.sh))

# Every case of the reference engines against PyTorch (`make check` runs a few): about three minutes.
oracle: $(EXE)
	@EXE=./$(EXE) ORACLE= sh tests/check_oracle.sh

clean:
	rm -rf $(B) $(EXE)

.PHONY: all check oracle clean
-include $(shell find $(B) -name '*.d' 2>/dev/null)
