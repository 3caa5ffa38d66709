// gbench.cc: see gbench.h. The project's only C++ file, because Google Benchmark has no C interface.
#include "gbench.h"
#include <benchmark/benchmark.h>
#include <cstdio>

struct qm_gbench {
    benchmark::State *state;
};

namespace {
bool failed;

void measure(benchmark::State &state, const qm_gbench_calls *calls, void *user) {
    char why[512] = "failed";
    qm_gbench g{&state};
    const uint32_t batch = calls->begin(user, why, sizeof why);
    if (!batch) {
        failed = true;
        state.SkipWithError(why);
        return;
    }
    while (state.KeepRunningBatch(batch)) {
        double seconds = 0;
        if (calls->run(user, &seconds, why, sizeof why)) {
            failed = true;
            state.SkipWithError(why);
            return;
        }
        state.SetIterationTime(seconds);
    }
    if (calls->end) calls->end(user, &g);
}
}  // namespace

extern "C" {

void qm_gbench_add(const char *name, const qm_gbench_calls *calls, void *user, uint64_t iterations) {
    auto *b = benchmark::RegisterBenchmark(name, [=](benchmark::State &s) { measure(s, calls, user); });
    b->UseManualTime()->Unit(benchmark::kMicrosecond);
    if (iterations) b->Iterations(static_cast<benchmark::IterationCount>(iterations));
}

void qm_gbench_counter(qm_gbench *g, const char *name, double v, qm_gbench_kind kind) {
    g->state->counters[name] = kind == QM_GBENCH_RATE
                                   ? benchmark::Counter(v, benchmark::Counter::kIsIterationInvariantRate)
                                   : benchmark::Counter(v);
}

void qm_gbench_label(qm_gbench *g, const char *text) { g->state->SetLabel(text); }

void qm_gbench_context(const char *key, const char *value) { benchmark::AddCustomContext(key, value); }

int qm_gbench_main(int argc, char **argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    const size_t n = benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    if (!n) std::fprintf(stderr, "no bench matches the filter\n");
    return failed || !n;
}
}
