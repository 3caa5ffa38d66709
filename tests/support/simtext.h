/* simtext.h: PTX given as text, run straight on the software device's core: no driver in between. */
#ifndef QM_TESTS_SIMTEXT_H
#define QM_TESTS_SIMTEXT_H
#include <stddef.h>
#include <stdint.h>
#include "../../runtime/sim/grid.h"
#include "../../runtime/sim/mem.h"
#include "../../runtime/sim/report.h"

#define SIMTEXT_HEAD ".version 7.4\n.target sm_80\n.address_size 64\n"
#define SIMTEXT_HEAD90 ".version 8.0\n.target sm_90\n.address_size 64\n"
/* An entry k with a u64 parameter `out`, address in %out; lane id in %lane, thread in %t. */
#define SIMTEXT_ENTRY                                                            \
    ".visible .entry k(.param .u64 p) {\n.reg .u64 %out; .reg .u32 %lane, %t;\n" \
    "ld.param.u64 %out, [p]; mov.u32 %lane, %laneid; mov.u32 %t, %tid.x;\n"
/* Stores the 32-bit register v at out[thread]. */
#define SIMTEXT_PUT(v) "{ .reg .u64 %at; mad.wide.u32 %at, %t, 4, %out; st.global.b32 [%at], " v "; }\n"

/* Loads the text; fails the test with the log if it is refused. */
sim_module *simtext_load(const char *ptx);
/* NULL if the text loads; else the log (valid until the next call). */
const char *simtext_refused(const char *ptx);
/* Runs entry k of head + entry line + body + "ret; }" over one out buffer of n words (zeroed first).
 * Returns sim_run's code; the report is in qm_sim_last_report(). */
int simtext_run(const char *ptx, uint32_t grid, uint32_t block, int cooperative, uint32_t *out, size_t n);
/* The same with options of one's own (NULL: the defaults, one thread) and the counters. */
int simtext_run_opt(const char *ptx, uint32_t grid, uint32_t block, int cooperative, uint32_t *out, size_t n,
                    const qm_sim_options *opt, qm_sim_counters *c);
#endif
