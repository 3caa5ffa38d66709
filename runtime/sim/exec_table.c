/* exec_table.c: the handlers by number: the hot ones in the build that suits this CPU, then the scalar ones. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "exec.h"
#include "exec_scalar.h"
#include "ptx.h"

#define OP(name) {#name, h_##name},
const sim_opcode sim_opcodes_scalar[] = {
#include "scalar.def"
    {0, 0}};
#undef OP

#define SIM_MAX_OPS 1024
static sim_handler fast[SIM_MAX_OPS], checked[SIM_MAX_OPS];
static const char *names[SIM_MAX_OPS];
static int n_ops;
static int16_t by_name[4096]; /* by hash, open addressing: index + 1 */
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* The hooks first, then the plain handler. The access is described as the hardware would see it. */
static int h_checked(sim_warp *w, const sim_inst *in, uint32_t m) {
    uint64_t addr[32];
    int sp = -1;
    for (uint32_t q = m; q; q &= q - 1) {
        int l = __builtin_ctz(q);
        uint64_t a = sim_addr_of(w, in, 0, l);
        int s = in->space;
        if (s == PS_GENERIC) {
            uint64_t win = a & SIM_WIN_MASK;
            s = win == SIM_WIN_SHARED ? PS_SHARED : win == 0 ? PS_GLOBAL : PS_LOCAL;
            a &= ~SIM_WIN_MASK;
        }
        addr[l] = a;
        if (sp < 0) sp = s;
        else if (sp != s) sp = PS_LOCAL; /* mixed spaces: lanes are not looked at */
    }
    /* Bounds first: the hooks may trust the addresses. */
    if (sp == PS_GLOBAL || sp == PS_SHARED) {
        const char *op = names[in->op];
        int kind = op[0] == 'a' ? SIM_ATOMIC : op[0] == 's' ? SIM_WRITE : SIM_READ;
        int order = in->mod & F_VOLATILE && !in->order ? SIM_RELAXED : in->order;
        uint32_t bytes = (uint32_t)in->esz * in->n;
        for (uint32_t q = m; q; q &= q - 1) {
            int l = __builtin_ctz(q);
            if (!sim_resolve(w, in, l, sp, addr[l], bytes,
                             kind == SIM_READ    ? "read"
                             : kind == SIM_WRITE ? "write"
                                                 : "atomic"))
                return X_FAULT;
        }
        if (sim_hook(w, in, m, sp == PS_GLOBAL ? SIM_SPACE_GLOBAL : SIM_SPACE_SHARED, kind, order, bytes, addr))
            return X_FAULT;
    }
    return fast[in->op](w, in, m);
}

static int is_mem(const char *n) {
    return !strncmp(n, "ldg_", 4) || !strncmp(n, "lds_", 4) || !strncmp(n, "stg_", 4) || !strncmp(n, "sts_", 4) ||
           !strcmp(n, "ld_any") || !strcmp(n, "st_any") || !strcmp(n, "atom");
}

static unsigned hash_of(const char *s) {
    unsigned h = 2166136261u;
    for (; *s; s++) h = (h ^ (unsigned char)*s) * 16777619u;
    return h ^ h >> 15;
}

static void init(void) {
    const sim_opcode *hot = sim_opcodes_base;
    int level = 0;
#if defined(__x86_64__)
    const char *force = getenv("QMOE_SIM_ISA"); /* base, avx2: for tests and measurements */
    level = !force ? 2 : !strcmp(force, "base") ? 0 : !strcmp(force, "avx2") ? 1 : 2;
    __builtin_cpu_init();
    if (level >= 1 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
        hot = sim_opcodes_avx2;
    if (level >= 2 && hot == sim_opcodes_avx2 && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        hot = sim_opcodes_avx512;
#endif
    const sim_opcode *part[2] = {hot, sim_opcodes_scalar};
    for (int p = 0; p < 2; p++)
        for (const sim_opcode *o = part[p]; o->name && n_ops < SIM_MAX_OPS; o++, n_ops++) {
            names[n_ops] = o->name;
            sim_handler better = sim_dot_better(o->name, level);
            fast[n_ops] = better ? better : o->fn;
            checked[n_ops] = is_mem(o->name) ? h_checked : fast[n_ops];
            unsigned h = hash_of(o->name) & 4095;
            while (by_name[h]) h = (h + 1) & 4095;
            by_name[h] = (int16_t)(n_ops + 1);
        }
}

int sim_opcode_find(const char *name) {
    pthread_once(&once, init);
    for (unsigned h = hash_of(name) & 4095; by_name[h]; h = (h + 1) & 4095)
        if (!strcmp(names[by_name[h] - 1], name)) return by_name[h] - 1;
    return -1;
}
const sim_handler *sim_handlers(void) {
    pthread_once(&once, init);
    return fast;
}
const sim_handler *sim_handlers_checked(void) {
    pthread_once(&once, init);
    return checked;
}
