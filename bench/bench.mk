# bench.mk: the benches (included by the Makefile). `make bench` builds them: g++ for gbench.cc alone.
BENCH_PTX := $(patsubst bench/ptx/%.ptx,$(B)/bench/ptx/%.ptx,$(wildcard bench/ptx/*.ptx))
BENCHES   := $(B)/bench/counters $(B)/bench/prediction $(B)/bench/micro $(B)/bench/kernels

$(B)/bench/ptx/%.ptx: bench/ptx/%.ptx $(wildcard bench/ptx/*.inc) | $(B)/config.mk
	@mkdir -p $(@D)
	$(call Q,PTX,$<)cpp -P -undef -nostdinc -x assembler-with-cpp -I bench/ptx -o $@ $<

# The texts are part of the program, as the kernels' are; the table has a name of its own.
$(B)/bench/embed.S: $(BENCH_PTX) tools/embed.sh bench/bench.mk | $(B)/config.mk
	@sh tools/embed.sh qm_bench_embedded $(BENCH_PTX) > $@
$(B)/o/bench/embed.o: $(B)/bench/embed.S
	@mkdir -p $(@D)
	$(call Q,AS,$<)$(CC) -c -o $@ $<

BENCH_O := $(B)/o/bench/machine.o $(B)/o/bench/embed.o
$(B)/bench/counters: $(patsubst %,$(B)/o/bench/%.o,counters jobs jobs_rows) $(LIBQMOE)
$(B)/bench/micro: $(patsubst %.c,$(B)/o/%.o,$(wildcard bench/micro*.c)) $(BENCH_O) $(LIBQMOE)
$(B)/bench/prediction: $(B)/o/bench/prediction.o $(LIBQMOE)
$(B)/bench/counters $(B)/bench/micro $(B)/bench/prediction:
	@mkdir -p $(@D)
	$(call Q,LD,$@)$(CC) $(SANFLAGS) -o $@ $^ $(LDLIBS)

# Google Benchmark is C++, and so is its wrapper: this file alone, and the link.
$(B)/o/bench/gbench.o: bench/gbench.cc bench/gbench.h | $(B)/config.mk
	@mkdir -p $(@D)
	$(call Q,CXX,$<)$(CXX) -std=c++17 $(WARN) $(CFLAGS) $(SANFLAGS) -c -o $@ $<
$(B)/bench/kernels: $(patsubst %,$(B)/o/bench/%.o,kernels jobs jobs_rows gbench) $(BENCH_O) $(LIBQMOE)
	@mkdir -p $(@D)
	$(call Q,LD,$@)$(CXX) $(SANFLAGS) -o $@ $^ -lbenchmark $(LDLIBS)

bench: $(BENCHES)
# What the kernels cost, counted on the software device; figures may only improve.
counters: $(B)/bench/counters
	$< --check bench/results/counters.json
.PHONY: bench counters
