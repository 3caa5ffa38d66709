# qmoe-gpu. `make demo` and `make check` are all a newcomer needs; what is missing gets installed.
#   make            the program, $(B)/qmoe-gpu        make SAN=1 check   all tests under ASan and UBSan
#   make demo       a small model says something      make fuzz          build the fuzzers (clang)
#   make check      every test and check              make bench     the benches: bench/results/README.md
#   make check-browser   the server's page in Chromium, which it installs (140 MB to fetch, 470 MiB on disk)
#   make check-litellm   `serve` as litellm sees it, which it installs (44 MB to fetch, 250 MB on disk)
#   make install PREFIX=/usr/local DESTDIR=       program, library, header, man page, completion; make uninstall
B      ?= $(if $(SAN),build-san,build)
PREFIX ?= /usr/local
ifeq ($(origin CC),default)
CC     := gcc
endif
CFLAGS ?= -O2 -g
WARN    = -Wall -Wextra -Werror
Q       = $(if $(V),,@echo "  $(1)	$(2)";)
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 2)
endif

# setup.sh runs every time (a tenth of a second) and rewrites config.mk only when something changed.
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
GOALS := $(or $(MAKECMDGOALS),all)
ifneq ($(filter-out clean uninstall format,$(GOALS)),)
LEVEL := $(if $(filter check-browser,$(GOALS)),browser,$(if $(filter check-litellm,$(GOALS)),litellm,$(if $(filter-out all demo install clean uninstall,$(GOALS)),all,build)))
-include $(B)/config.mk
$(B)/config.mk: FORCE
	@B=$(B) sh tools/setup.sh $(LEVEL)
endif

ifdef SAN
SANFLAGS = -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
endif
ifdef FUZZ
SANFLAGS = -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
endif
# No fused multiply-add unless the source says fma(): the software device is exact to the bit.
ALL_C   = -std=c11 -D_GNU_SOURCE -ffp-contract=off $(WARN) -MMD -MP -I. -Iruntime -isystem $(CUDA_INC) $(CFLAGS) $(SANFLAGS) $(DEFS)
LDLIBS  = -lpcre2-8 -lutf8proc -ljansson -lpopt -lm -ldl -lpthread
HOSTLIBS = -ledit -lmicrohttpd

LIB_C  := $(wildcard runtime/*/*.c kernels/ref/*.c)
HOST_C := $(wildcard host/*.c host/serve/*.c)
TEST_C := $(wildcard tests/*/unit_*.c tests/*/check_*.c)
FUZZ_C := $(wildcard tests/fuzz/fuzz_*.c)
HELP_O := $(patsubst %.c,$(B)/o/%.o,$(wildcard tests/support/*.c))
PTX    := $(wildcard kernels/ptx/*.ptx)
CU     := $(wildcard kernels/cu/*.cu)
LIB_O  := $(LIB_C:%.c=$(B)/o/%.o) $(B)/o/embed.o
TESTS  := $(addprefix $(B)/tests/,$(notdir $(TEST_C:.c=)))
SCRIPTS := $(wildcard tests/*/test_*.py)
FUZZERS := $(addprefix $(B)/tests/,$(notdir $(FUZZ_C:.c=)))

all: $(B)/qmoe-gpu

$(B)/qmoe-gpu: $(HOST_C:%.c=$(B)/o/%.o) $(B)/o/page.o $(B)/libqmoe.a
	$(call Q,LD,$@)$(CC) $(SANFLAGS) -o $@ $^ $(HOSTLIBS) $(LDLIBS)

$(B)/libqmoe.a: $(LIB_O)
	@rm -f $@
	$(call Q,AR,$@)ar rcs $@ $^

# make dist packs test programs that share the library instead of each holding it.
LIBQMOE ?= $(B)/libqmoe.a
$(B)/libqmoe.so: $(LIB_O)
	$(call Q,SO,$@)$(CC) -shared -Wl,-Bsymbolic,-soname,$(@F) -o $@ $^ $(LDLIBS)

# Results name the commit they were made from. A tree without git says COMMIT=... or "unknown".
COMMIT ?= $(or $(shell git describe --always --dirty --exclude '*' --abbrev=12 2>/dev/null),unknown)
$(B)/commit.h: FORCE
	@mkdir -p $(@D); echo '#define QM_COMMIT "$(COMMIT)"' | cmp -s - $@ || echo '#define QM_COMMIT "$(COMMIT)"' > $@
$(B)/o/runtime/observe/machine.o: $(B)/commit.h
$(B)/o/runtime/observe/machine.o: DEFS = -include $(B)/commit.h

$(B)/o/%.o: %.c | $(B)/config.mk
	@mkdir -p $(@D)
	$(call Q,CC,$<)$(CC) $(ALL_C) -c -o $@ $<

# What the PTX has of tables is written by programs of the machine that builds: the offsets of ops' arguments
# (contracts/ops.def), the figures and names of the weight types (contracts/streams.def), the bodies that the persistent
# kernel holds (contracts/kernels.def).
HOSTCC ?= cc
GEN    := $(addprefix $(B)/gen/,op_offsets.h streams.h each_type.inc each_rows.inc walk_cases.inc)
$(B)/gen/op_offsets.h: tools/op_offsets.c contracts/ops.def contracts/abi.h kernels/ref/args.h | $(B)/config.mk
	@mkdir -p $(@D)
	$(call Q,GEN,$@)$(HOSTCC) -std=c11 -I. -o $(@D)/op_offsets $< && $(@D)/op_offsets > $@
$(B)/gen/streams.h $(B)/gen/each_type.inc $(B)/gen/each_rows.inc &: tools/streams_h.c contracts/streams.def | $(B)/config.mk
	@mkdir -p $(@D)
	$(call Q,GEN,$(B)/gen/streams.h)$(HOSTCC) -std=c11 -I. -o $(@D)/streams_h $< && \
	    $(@D)/streams_h defines > $(B)/gen/streams.h && $(@D)/streams_h each > $(B)/gen/each_type.inc && \
	    $(@D)/streams_h rows > $(B)/gen/each_rows.inc
$(B)/gen/walk_cases.inc: tools/walk_cases.c $(wildcard contracts/*.def) | $(B)/config.mk
	@mkdir -p $(@D)
	$(call Q,GEN,$@)$(HOSTCC) -std=c11 -I. -o $(@D)/walk_cases $< && $(@D)/walk_cases > $@

# The preprocessed PTX and the CUDA C texts are part of the program.
$(B)/ptx/%.ptx: kernels/ptx/%.ptx $(wildcard kernels/ptx/*.inc) contracts/abi.h $(GEN) | $(B)/config.mk
	@mkdir -p $(@D)
	$(call Q,PTX,$<)cpp -P -undef -nostdinc -x assembler-with-cpp -I kernels/ptx -I contracts -I $(B)/gen -o $@ $<

# The kernels of decode steps once more, for dependent launches (docs/decode.md); those of many rows would be 5 MB for what a prompt
# hardly notices, and the others have nothing to wait for.
$(B)/ptx/%.sm_90.ptx: kernels/ptx/%.ptx $(wildcard kernels/ptx/*.inc) contracts/abi.h $(GEN) | $(B)/config.mk
	@mkdir -p $(@D)
	$(call Q,PTX,$@)cpp -P -undef -nostdinc -x assembler-with-cpp -DQM_DEPENDENT -I kernels/ptx -I contracts -I $(B)/gen -o $@.80 $< && \
	    sed 's/^\.version 7\.4$$/.version 8.0/; s/^\.target sm_80$$/.target sm_90/' $@.80 > $@ && rm $@.80

DEPENDENT := $(filter-out $(addprefix kernels/ptx/,gemm.ptx moe_gemm.ptx moe_gemm_up.ptx moe_sort.ptx attn_prefill.ptx walk.ptx probe.ptx stats.ptx),$(PTX))
PTX_B := $(PTX:kernels/ptx/%.ptx=$(B)/ptx/%.ptx) $(DEPENDENT:kernels/ptx/%.ptx=$(B)/ptx/%.sm_90.ptx)
$(B)/embed.S: $(PTX_B) $(CU) contracts/abi.h tools/embed.sh Makefile | $(B)/config.mk
	@sh tools/embed.sh qm_embedded $(PTX_B) $(CU) contracts/abi.h > $@

# The server's page is one file, and part of the program too.
$(B)/page/page.html $(B)/page/page.csp &: $(wildcard host/serve/page/*) tools/page.sh | $(B)/config.mk
	$(call Q,GEN,$(B)/page/page.html)sh tools/page.sh host/serve/page $(B)/page
$(B)/page.S: $(B)/page/page.html $(B)/page/page.csp tools/embed.sh
	@sh tools/embed.sh page_embedded $(B)/page/page.html $(B)/page/page.csp > $@

$(B)/o/embed.o $(B)/o/page.o: $(B)/o/%.o: $(B)/%.S
	@mkdir -p $(@D)
	$(call Q,AS,$<)$(CC) -c -o $@ $<

# A test program bears its file's name, whatever room that stands in; what tests share is tests/support.
$(B)/o/tests/%.o: DEFS = -Itests -Itests/support
$(foreach t,$(TEST_C) $(FUZZ_C),$(eval $(B)/tests/$(notdir $(t:.c=)): $(B)/o/$(t:.c=.o)))
$(TESTS): $(HELP_O) $(LIBQMOE)
	@mkdir -p $(@D)
	$(call Q,LD,$@)$(CC) $(SANFLAGS) -o $@ $(filter %.o,$^) $(filter-out %.o,$^) $(LDLIBS) -lcmocka

# Shared libraries that tests load: a stand-in for the driver, a profiler.
FIXTURES := $(patsubst tests/fixtures/%.c,$(B)/fixtures/%.so,$(wildcard tests/fixtures/*.c))
$(B)/fixtures/%.so: tests/fixtures/%.c $(wildcard tests/fixtures/*.h) contracts/cuda.def | $(B)/config.mk
	@mkdir -p $(@D)
	$(call Q,SO,$<)$(CC) $(filter-out $(SANFLAGS) -MMD -MP,$(ALL_C)) -fPIC -shared -o $@ $<
$(TESTS): | $(FIXTURES)

# The opcode tests' PTX is written by their maker.
$(B)/isa/made: tests/isa/make.py tests/isa/whole.py | $(B)/config.mk
	@rm -rf $(@D)
	$(call Q,GEN,$(@D))$(PYTHON) tests/isa/make.py $(@D) && touch $@
$(B)/tests/check_isa: | $(B)/isa/made

# Requests go through the server's own files, but for what is behind them: HTTP, tasks, the device's thread.
$(B)/tests/fuzz_request: $(patsubst %.c,$(B)/o/%.o,$(filter-out %/serve.c %/task.c %/runner.c %/log.c %/loop.c %/page.c $(wildcard host/serve/http*.c),$(wildcard host/serve/*.c)) \
    host/common.c host/json.c host/sampling.c)
$(FUZZERS): $(B)/libqmoe.a
	@mkdir -p $(@D)
	$(call Q,LD,$@)$(CC) $(SANFLAGS) -fsanitize=fuzzer -o $@ $(filter %.o,$^) $< $(LDLIBS)

# What tools/tok_compare.py and tests/tools/test_schema.py ask; part of the check, so that it cannot rot.
$(B)/tok_cli $(B)/guide_cli: $(B)/%: $(B)/o/tools/%.o $(B)/libqmoe.a
	$(call Q,LD,$@)$(CC) $(SANFLAGS) -o $@ $^ $(LDLIBS)

# What tests/serve/test_http.py speaks to.
HTTP_O := $(patsubst %.c,$(B)/o/%.o,host/serve/loop.c $(wildcard host/serve/http*.c) tests/serve/http_server.c)
$(B)/http_server: $(HTTP_O) $(B)/libqmoe.a
	$(call Q,LD,$@)$(CC) $(SANFLAGS) -o $@ $^ -lmicrohttpd $(LDLIBS)

include bench/bench.mk

tests: $(TESTS)

# Fuzzers are built apart, by clang: instrumented code cannot share objects with the rest.
fuzzers: $(FUZZERS)
fuzz:
	@+$(if $(FUZZ_C),$(if $(shell command -v clang),$(MAKE) --no-print-directory FUZZ=1 SAN= CC=clang B=$(B)/fuzz CFLAGS="-O1 -g" fuzzers,echo "no clang: fuzzers not built"),:)

check: all tests $(B)/tok_cli $(B)/guide_cli $(B)/http_server $(PTX_B) $(if $(SAN),,fuzz $(BENCHES))
	@B=$(B) SAN=$(SAN) PTXAS=$(PTXAS) NVRTC_LIB=$(NVRTC_LIB) $(PYTHON) tests/run $(TESTS) $(SCRIPTS)

# The server's page in a headless Chromium, which is too large to be asked of everybody: make check has these tests where one
# is there, and says that it passes them over where not.
check-browser: all
	@B=$(B) QMOE_ONLY=test_page QMOE_BROWSER=1 $(PYTHON) tests/run $(filter %test_page.py %test_page_serve.py,$(SCRIPTS))

# As check-browser, with litellm.
check-litellm: all
	@B=$(B) QMOE_ONLY=test_serve_litellm QMOE_LITELLM=1 $(PYTHON) tests/run $(filter %test_serve_litellm.py,$(SCRIPTS))

# models/demo.gguf (models/README.md): three short answers, then the beginning of a story.
DEMO := $(B)/qmoe-gpu generate -m models/demo.gguf
demo: $(B)/qmoe-gpu
	@for p in "What is 2+2?" "Capital of France:" "Translate to Spanish: Hello world"; do \
	    printf '\n> %s\n' "$$p" && $(DEMO) -q -p "$$p" || exit 1; done
	@printf '\n> (go on) Once upon a time' && $(DEMO) --raw -p "Once upon a time" -n 200

# What is installed, and uninstalled: MODE:FILE:PLACE below PREFIX.
HEADERS   := $(addprefix runtime/,qmoe.h qmoe_guide.h qmoe_text.h qmoe_tools.h base/err.h base/log.h base/text.h)
INSTALLED  = 755:$(B)/qmoe-gpu:bin/qmoe-gpu 644:docs/qmoe-gpu.1:share/man/man1/qmoe-gpu.1 \
             644:$(B)/completion.bash:share/bash-completion/completions/qmoe-gpu 644:$(B)/completion.zsh:share/zsh/site-functions/_qmoe-gpu \
             644:$(B)/libqmoe.a:lib/libqmoe.a 644:$(B)/qmoe.pc:lib/pkgconfig/qmoe.pc \
             $(foreach h,$(HEADERS),644:$(h):include/qmoe/$(h:runtime/%=%))

$(B)/completion.%: $(B)/qmoe-gpu
	@$< completion $* > $@

# The library is static: whoever links it needs its libraries too.
$(B)/qmoe.pc: FORCE | $(B)/config.mk
	@printf '%s\n' 'prefix=$(PREFIX)' 'Name: qmoe' 'Description: Qwen3-MoE models (GGUF) on one NVIDIA GPU, or on a software device' \
	    "Version: $$(sed -n 's/^#define QM_VERSION "\(.*\)"/\1/p' runtime/qmoe.h)" 'Cflags: -I$${prefix}/include/qmoe' \
	    'Libs: -L$${prefix}/lib -lqmoe $(filter-out -lpopt,$(LDLIBS))' > $@

install: $(foreach x,$(INSTALLED),$(word 2,$(subst :, ,$x)))
	@for x in $(INSTALLED); do IFS=:; set -- $$x; echo "  INSTALL	$(DESTDIR)$(PREFIX)/$$3"; \
	    install -D -m $$1 "$$2" "$(DESTDIR)$(PREFIX)/$$3" || exit 1; done

# Exactly these files, and the folder that is nobody else's.
uninstall:
	@for x in $(INSTALLED); do rm -f "$(DESTDIR)$(PREFIX)/$${x##*:}" || exit 1; done
	@rmdir "$(DESTDIR)$(PREFIX)/include/qmoe/base" "$(DESTDIR)$(PREFIX)/include/qmoe" 2>/dev/null || true

# A tarball for a GPU machine; `make dist-check` also runs its tests. ARCH=aarch64 cross-builds it.
dist dist-check: $(B)/config.mk
	@+B=$(B) ARCH=$(ARCH) COMMIT=$(COMMIT) CC=$(CC) MAKE=$(MAKE) sh tools/dist.sh $(filter-out dist,$(@:dist-%=%))

# Sets the C sources as .clang-format says.
format:
	@sh tools/format.sh

setup: $(B)/config.mk

clean:
	rm -rf $(B)

FORCE:
.PHONY: all tests fuzz fuzzers check check-browser check-litellm demo dist dist-check install uninstall setup format clean FORCE
.SECONDARY:
-include $(shell find $(B)/o -name '*.d' 2>/dev/null)
