/* module.c: a module's life: text in, globals placed, entries decoded, everything freed; or kept for the next who has the
 * same text, since a process that opens engine after engine would read 10 MB of PTX for each. */
#include "module.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "decode.h"
#include "mem.h"
#include "parse.h"
#include "sim.h"

enum { KEPT_MOST = 384 << 20 }; /* of what has been made of texts: all kernels of a few models */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static sim_module *kept; /* the last one first; nobody has them, so that each has one user at most */
static size_t kept_bytes;

static int is_device(const ptx_var *v) { return v->space == PS_GLOBAL || v->space == PS_CONST; }

static void place_globals(sim_module *m) {
    for (ptx_var *v = m->vars; v; v = v->next) {
        if (!is_device(v)) continue;
        char what[160];
        snprintf(what, sizeof what, "module global %.120s", v->name);
        size_t n = v->bytes ? v->bytes : 1;
        if (v->align > 256) ptx_fail(&m->unit, 1, "`%s`: alignment above 256", v->name);
        sim_alloc *a = sim_mem_new(n, ptx_strndup(&m->unit, what, strlen(what)));
        if (!a) ptx_fail(&m->unit, 1, "out of device memory for `%s` (%zu bytes)", v->name, v->bytes);
        v->addr = a->base;
        if (v->init) memcpy((void *)(uintptr_t)a->base, v->init, v->bytes);
        else memset((void *)(uintptr_t)a->base, 0, n);
        if (a->init) memset(a->init, 1, n);
    }
    for (ptx_var *v = m->vars; v; v = v->next)
        for (const ptx_reloc *r = v->reloc; is_device(v) && r; r = r->next) {
            if (!is_device(r->var))
                ptx_fail(&m->unit, 1, "`%s` is initialised with the address of `%s`, which has none yet", v->name,
                         r->var->name);
            uint64_t x = r->var->addr + (uint64_t)r->add;
            memcpy((uint8_t *)(uintptr_t)v->addr + r->at, &x, 8);
        }
}

/* Everything that may leave through ptx_fail. */
static int load(sim_module *m, const char *ptx) {
    if (setjmp(m->unit.fail)) return -1;
    m->text = ptx_strndup(&m->unit, ptx, strlen(ptx));
    ptx_parse(m);
    place_globals(m);
    for (ptx_func *f = m->funcs; f; f = f->next)
        if (f->is_entry) ptx_decode(m, f);
    return 0;
}

static void drop(sim_module *m) {
    for (ptx_var *v = m->vars; v; v = v->next)
        if (is_device(v) && v->addr) sim_mem_free(v->addr);
    ptx_unit_free(&m->unit);
    free(m);
}

static sim_module *take_kept(const char *ptx, int apart) {
    pthread_mutex_lock(&lock);
    sim_module **at = &kept;
    while (*at && ((*at)->apart != apart || strcmp((*at)->text, ptx))) at = &(*at)->next;
    sim_module *m = *at;
    if (m) {
        *at = m->next;
        kept_bytes -= m->unit.bytes;
    }
    pthread_mutex_unlock(&lock);
    return m;
}

/* Not one with memory on the device: that has to be as at the start. */
static int keep(sim_module *m) {
    for (const ptx_var *v = m->vars; v; v = v->next)
        if (is_device(v)) return 0;
    pthread_mutex_lock(&lock);
    const int room = m->unit.bytes <= KEPT_MOST - kept_bytes;
    if (room) {
        m->next = kept;
        kept = m;
        kept_bytes += m->unit.bytes;
    }
    pthread_mutex_unlock(&lock);
    return room;
}

sim_module *sim_module_load(const char *ptx, char *log, size_t log_n) {
    qm_sim_options o;
    qm_sim_get_options(&o);
    const int apart = o.check_uninit; /* an unwritten register holds garbage then, not what another block left */
    if (log && log_n) log[0] = 0;
    sim_module *m = take_kept(ptx, apart);
    if (m) return m;
    if (!(m = calloc(1, sizeof *m))) return NULL;
    m->apart = apart;
    m->unit.log = log;
    m->unit.log_n = log_n;
    if (load(m, ptx)) {
        drop(m);
        return NULL;
    }
    m->unit.log = NULL;
    return m;
}

void sim_module_free(sim_module *m) {
    if (m && !keep(m)) drop(m);
}

sim_func *sim_module_func(sim_module *m, const char *entry) {
    ptx_func *f = ptx_find_func(m, entry);
    return f && f->is_entry ? f->code : NULL;
}

int sim_module_global(sim_module *m, const char *name, uint64_t *addr, size_t *bytes) {
    for (ptx_var *v = m->vars; v; v = v->next)
        if (is_device(v) && !strcmp(v->name, name)) {
            if (addr) *addr = v->addr;
            if (bytes) *bytes = v->bytes;
            return 0;
        }
    return -1;
}
