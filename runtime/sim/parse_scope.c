/* parse_scope.c: scopes of names, which nest and shadow; labels belong to the block that holds them. */
#include "parser.h"
#include <ctype.h>
#include <string.h>

static uint32_t hash_of(const char *s) {
    uint32_t h = 5381;
    for (; *s; s++) h = h * 33 ^ (unsigned char)*s;
    return h;
}

ptx_sym *ptx_scope_add(ptx_parser *p, const char *name) {
    const uint32_t hash = hash_of(name);
    for (ptx_sym *s = p->sc->syms; s; s = s->next)
        if (s->hash == hash && !strcmp(s->name, name) && !s->count)
            ptx_fail(p->u, p->x.line, "`%s` is declared twice in one ptx_scope", name);
    ptx_sym *s = ptx_alloc(p->u, sizeof *s);
    s->name = name;
    s->hash = hash;
    s->n = (uint32_t)strlen(name);
    s->label = -1;
    s->next = p->sc->syms;
    return p->sc->syms = s;
}

/* name is stem0 .. stem(count-1)? The number has no leading zero. */
static int in_range(const ptx_sym *s, const char *name, size_t n, uint32_t *index) {
    const size_t k = s->n;
    if (k >= n || n - k > 7 || memcmp(s->name, name, k) || (name[k] == '0' && n - k > 1)) return 0;
    uint32_t v = 0;
    for (size_t j = k; j < n; j++) {
        if (!isdigit((unsigned char)name[j])) return 0;
        v = v * 10 + (uint32_t)(name[j] - '0');
    }
    *index = v;
    return v < s->count;
}

static ptx_sym *scope_find(const ptx_scope *sc, const char *name, uint32_t *index) {
    const size_t n = strlen(name);
    const uint32_t hash = hash_of(name);
    for (; sc; sc = sc->up)
        for (ptx_sym *s = sc->syms; s; s = s->next) {
            *index = 0;
            if (s->count ? in_range(s, name, n, index) : s->hash == hash && !strcmp(s->name, name)) return s;
        }
    return NULL;
}

static ptx_left *left_of(ptx_parser *p, ptx_type t) {
    return &p->left[t == PT_PRED ? 0 : ptx_types[t].bytes == 8 ? 2 : 1];
}

ptx_reg *ptx_reg_new(ptx_parser *p, const char *name, ptx_type t, uint32_t count) {
    ptx_reg *r = ptx_alloc(p->u, sizeof *r * count);
    ptx_left *l = left_of(p, t);
    for (uint32_t i = 0; i < count; i++)
        /* one that is declared behind a block may keep its value while that runs again */
        r[i] = (ptx_reg){name, (uint8_t)t, 0, l->n && !p->sc->held ? l->id[--l->n] : p->m->n_reg++};
    return r;
}

static void leave(ptx_parser *p, const ptx_reg *r) {
    ptx_left *l = left_of(p, r->type);
    if (l->n == l->cap) {
        const int cap = l->cap ? 2 * l->cap : 64;
        uint32_t *id = ptx_alloc(p->u, sizeof *id * (size_t)cap);
        if (l->n) memcpy(id, l->id, sizeof *id * (size_t)l->n);
        l->id = id;
        l->cap = cap;
    }
    l->id[l->n++] = r->id;
}

void ptx_scope_push(ptx_parser *p) {
    ptx_scope *s = ptx_alloc(p->u, sizeof *s);
    s->up = p->sc;
    s->first = p->f ? p->f->n_s : 0;
    p->sc = s;
}

static void resolve_labels(const ptx_scope *sc, ptx_opnd *o, int n) {
    for (int i = 0; i < n; i++) {
        if (o[i].kind == PO_VEC) resolve_labels(sc, o[i].list, o[i].n);
        if (o[i].kind != PO_NAME) continue;
        for (const ptx_sym *s = sc->syms; s; s = s->next)
            if (s->label >= 0 && !strcmp(s->name, o[i].name)) {
                o[i].kind = PO_LABEL;
                o[i].i = s->label;
                break;
            }
    }
}

void ptx_scope_pop(ptx_parser *p) {
    for (int i = p->sc->first; i < p->f->n_s; i++) resolve_labels(p->sc, p->f->s[i].o, p->f->s[i].n);
    for (ptx_targets *t = p->m->targets; t; t = t->next)
        if (t->f == p->f) resolve_labels(p->sc, &t->list, 1);
    if (!p->m->apart)
        for (const ptx_sym *s = p->sc->syms; s; s = s->next)
            for (uint32_t i = 0; s->reg && i < (s->count ? s->count : 1); i++) leave(p, &s->reg[i]);
    p->sc = p->sc->up;
    p->sc->held = 1;
}

static ptx_reg *special_reg(ptx_parser *p, const char *name) {
    ptx_type type;
    const ptx_sreg s = ptx_sreg_of(name, &type);
    if (s && !p->special[s]) {
        p->special[s] = ptx_alloc(p->u, sizeof **p->special);
        *p->special[s] = (ptx_reg){name, (uint8_t)type, (uint8_t)s, p->m->n_reg++}; /* filled at the start */
    }
    return s ? p->special[s] : NULL;
}

int ptx_name_opnd(ptx_parser *p, const char *name, ptx_opnd *o) {
    uint32_t k;
    ptx_sym *s = scope_find(p->sc, name, &k);
    memset(o, 0, sizeof *o);
    if (s && s->reg) {
        o->kind = PO_REG;
        o->reg = s->reg + k;
        return 1;
    }
    if (s && s->var) {
        o->kind = PO_VAR;
        o->var = s->var;
        return 1;
    }
    if (name[0] == '%' && (o->reg = special_reg(p, name))) {
        o->kind = PO_REG;
        return 1;
    }
    if (!strcmp(name, "WARP_SZ")) {
        o->kind = PO_INT;
        o->i = 32;
        return 1;
    }
    return 0;
}

void ptx_deeper(ptx_parser *p) {
    if (++p->depth > 64) ptx_fail(p->u, p->x.line, "nested too deeply");
}
