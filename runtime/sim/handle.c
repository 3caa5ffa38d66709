/* handle.c: a table sorted by address. */
#include "handle.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static struct {
    const void *h;
    int kind;
} * g_h;
static size_t g_h_n, g_h_cap;

static size_t handle_at(const void *h) {
    size_t lo = 0, hi = g_h_n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if ((uintptr_t)g_h[mid].h < (uintptr_t)h) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

int sim_handle_add(void *h, int kind) {
    if (g_h_n == g_h_cap) {
        size_t cap = g_h_cap ? g_h_cap * 2 : 64;
        void *p = realloc(g_h, cap * sizeof *g_h);
        if (!p) return -1;
        g_h = p;
        g_h_cap = cap;
    }
    size_t i = handle_at(h);
    memmove(g_h + i + 1, g_h + i, (g_h_n - i) * sizeof *g_h);
    g_h[i].h = h;
    g_h[i].kind = kind;
    g_h_n++;
    return 0;
}

int sim_handle_is(const void *h, int kind) {
    size_t i = h ? handle_at(h) : g_h_n;
    return i < g_h_n && g_h[i].h == h && g_h[i].kind == kind;
}

void sim_handle_del(const void *h) {
    size_t i = handle_at(h);
    if (i == g_h_n || g_h[i].h != h) return;
    memmove(g_h + i, g_h + i + 1, (--g_h_n - i) * sizeof *g_h);
}

void *sim_handle_any(int kind) {
    for (size_t i = 0; i < g_h_n; i++)
        if (g_h[i].kind == kind) return (void *)(uintptr_t)g_h[i].h;
    return NULL;
}

void *sim_handle_next(int kind, size_t *at) {
    while (*at < g_h_n)
        if (g_h[(*at)++].kind == kind) return (void *)(uintptr_t)g_h[*at - 1].h;
    return NULL;
}
