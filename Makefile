# qmoe-gpu. `make demo` and `make check` are all a newcomer needs; both run `make setup` by themselves.
B      ?= build
CC     ?= gcc
PREFIX ?= /usr/local
-include $(B)/config.mk

CFLAGS  ?= -O2 -g
WARN     = -Wall -Wextra -Werror
ALL_C    = -std=c11 -D_GNU_SOURCE $(WARN) -MMD -MP -I. -Iruntime -isystem $(CUDA_INC) $(CFLAGS) $(SANFLAGS)
LDLIBS   = -lpcre2-8 -lutf8proc -ljansson -lpopt -lm -ldl -lpthread
ifdef SAN
SANFLAGS = -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
endif

LIB_C   := $(wildcard runtime/*/*.c kernels/ref/*.c)
HOST_C  := $(wildcard host/*.c)
TEST_C  := $(wildcard tests/unit_*.c tests/check_*.c)
HELP_C  := $(filter-out $(TEST_C) $(wildcard tests/fuzz_*.c),$(wildcard tests/*.c))
PTX     := $(wildcard kernels/ptx/*.ptx)
CU      := $(wildcard kernels/cu/*.cu)
LIB_O   := $(LIB_C:%.c=$(B)/o/%.o) $(B)/o/embed.o
TESTS   := $(TEST_C:tests/%.c=$(B)/tests/%)

all: $(B)/qmoe-gpu

$(B)/config.mk: tools/setup.sh
	@B=$(B) sh tools/setup.sh

$(B)/qmoe-gpu: $(HOST_C:%.c=$(B)/o/%.o) $(B)/libqmoe.a
	$(CC) $(SANFLAGS) -o $@ $^ $(LDLIBS)

$(B)/libqmoe.a: $(LIB_O)
	@rm -f $@
	ar rcs $@ $^

$(B)/o/%.o: %.c | $(B)/config.mk
	@mkdir -p $(@D)
	$(CC) $(ALL_C) -c -o $@ $<

# The preprocessed PTX and the CUDA C texts are part of the program.
$(B)/ptx/%.ptx: kernels/ptx/%.ptx $(wildcard kernels/ptx/*.inc) contracts/abi.h
	@mkdir -p $(@D)
	cpp -P -undef -nostdinc -x assembler-with-cpp -I kernels/ptx -I contracts -o $@ $<

$(B)/embed.S: $(PTX:kernels/ptx/%.ptx=$(B)/ptx/%.ptx) $(CU) tools/embed.sh
	sh tools/embed.sh $(B) $(PTX:kernels/ptx/%.ptx=$(B)/ptx/%.ptx) $(CU) > $@

$(B)/o/embed.o: $(B)/embed.S
	@mkdir -p $(@D)
	$(CC) -c -o $@ $<

$(B)/tests/%: $(B)/o/tests/%.o $(HELP_C:%.c=$(B)/o/%.o) $(B)/libqmoe.a
	@mkdir -p $(@D)
	$(CC) $(SANFLAGS) -o $@ $^ $(LDLIBS) -lcmocka

tests: $(TESTS)

clean:
	rm -rf $(B)

.PHONY: all tests clean
.SECONDARY:
-include $(shell find $(B)/o -name '*.d' 2>/dev/null)
