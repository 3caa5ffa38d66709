/* module.c: a module's life: text in, globals placed, entries decoded, everything freed. */
#include "module.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "decode.h"
#include "mem.h"
#include "parse.h"

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

sim_module *sim_module_load(const char *ptx, char *log, size_t log_n) {
    if (log && log_n) log[0] = 0;
    sim_module *m = calloc(1, sizeof *m);
    if (!m) return NULL;
    m->unit.log = log;
    m->unit.log_n = log_n;
    if (load(m, ptx)) {
        sim_module_free(m);
        return NULL;
    }
    m->unit.log = NULL;
    return m;
}

void sim_module_free(sim_module *m) {
    if (!m) return;
    for (ptx_var *v = m->vars; v; v = v->next)
        if (is_device(v) && v->addr) sim_mem_free(v->addr);
    ptx_unit_free(&m->unit);
    free(m);
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
