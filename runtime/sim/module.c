/* module.c: a module's life: text in, globals placed, entries decoded, everything freed. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "code.h"
#include "parse.h"

void *ptx_alloc(sim_module *m, size_t n) {
    n = (n + 15) & ~(size_t)15;
    ptx_chunk *c = m->mem;
    if (!c || c->cap - c->used < n) {
        size_t cap = n > 65536 ? n : 65536;
        c = calloc(1, sizeof *c + cap);
        if (!c) ptx_fail(m, 0, "out of memory");
        c->cap = cap;
        c->next = m->mem;
        m->mem = c;
    }
    void *p = c->b + c->used;
    c->used += n;
    return p;
}

char *ptx_strndup(sim_module *m, const char *s, size_t n) {
    char *p = ptx_alloc(m, n + 1);
    memcpy(p, s, n);
    return p;
}

void ptx_fail(sim_module *m, int line, const char *fmt, ...) {
    if (m->log && m->log_n) {
        int k = line > 0 ? snprintf(m->log, m->log_n, "line %d: ", line) : 0;
        va_list ap;
        va_start(ap, fmt);
        if ((size_t)k < m->log_n) vsnprintf(m->log + k, m->log_n - (size_t)k, fmt, ap);
        va_end(ap);
        for (char *p = m->log; *p; p++) /* one line, whatever the statement looked like */
            if (*p == '\n' || *p == '\t' || *p == '\r') *p = ' ';
    }
    longjmp(m->fail, 1);
}

ptx_func *ptx_find_func(sim_module *m, const char *name) {
    for (ptx_func *f = m->funcs; f; f = f->next)
        if (!strcmp(f->name, name)) return f;
    return NULL;
}

static int is_device(const ptx_var *v) { return v->space == PS_GLOBAL || v->space == PS_CONST; }

static void place_globals(sim_module *m) {
    for (ptx_var *v = m->vars; v; v = v->next) {
        if (!is_device(v)) continue;
        char what[160];
        snprintf(what, sizeof what, "module global %.120s", v->name);
        size_t n = v->bytes ? v->bytes : 1;
        if (v->align > 256) ptx_fail(m, 1, "`%s`: alignment above 256", v->name);
        sim_alloc *a = sim_mem_new(n, ptx_strndup(m, what, strlen(what)));
        if (!a) ptx_fail(m, 1, "out of device memory for `%s` (%zu bytes)", v->name, v->bytes);
        v->addr = a->base;
        if (v->init) memcpy((void *)(uintptr_t)a->base, v->init, v->bytes);
        else memset((void *)(uintptr_t)a->base, 0, n);
        if (a->init) memset(a->init, 1, n);
    }
    for (ptx_var *v = m->vars; v; v = v->next)
        for (const ptx_reloc *r = v->reloc; is_device(v) && r; r = r->next) {
            if (!is_device(r->var))
                ptx_fail(m, 1, "`%s` is initialised with the address of `%s`, which has none yet", v->name,
                         r->var->name);
            uint64_t x = r->var->addr + (uint64_t)r->add;
            memcpy((uint8_t *)(uintptr_t)v->addr + r->at, &x, 8);
        }
}

/* Everything that may leave through ptx_fail. */
static int load(sim_module *m, const char *ptx) {
    if (setjmp(m->fail)) return -1;
    m->text = ptx_strndup(m, ptx, strlen(ptx));
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
    m->log = log;
    m->log_n = log_n;
    if (load(m, ptx)) {
        sim_module_free(m);
        return NULL;
    }
    m->log = NULL;
    return m;
}

void sim_module_free(sim_module *m) {
    if (!m) return;
    for (ptx_var *v = m->vars; v; v = v->next)
        if (is_device(v) && v->addr) sim_mem_free(v->addr);
    for (ptx_chunk *c = m->mem; c;) {
        ptx_chunk *next = c->next;
        free(c);
        c = next;
    }
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

const char *sim_func_name(const sim_func *f) { return f->name; }
size_t sim_func_param_bytes(const sim_func *f) { return f->param_bytes; }
int sim_func_param(const sim_func *f, int i, size_t *off, size_t *bytes) {
    if (i < 0 || i >= f->n_param) return -1;
    *off = f->param_off[i];
    *bytes = f->param_size[i];
    return 0;
}
uint32_t sim_func_static_shared(const sim_func *f) { return f->shared_bytes; }
uint32_t sim_func_max_threads(const sim_func *f) { return f->max_threads; }
uint32_t sim_func_n_regs(const sim_func *f) { return f->n_regs; }
