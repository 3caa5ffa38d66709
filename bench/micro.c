/* micro.c: what the device's synchronisation and memory cost, measured apart from any model. The persistent
 * kernel's design and `bench --predict` rest on these figures.
 *
 *   micro [--device SPEC] [-o FILE [--append]] [-r REPEATS] [--only TEXT] [--ptx DIR] [--timed]
 *
 * Names, units and checks are in micro_sync.c, micro_launch.c, micro_stream.c; what is expected, and why, in
 * the heads of bench/ptx. Times are medians and minima of REPEATS (default 11) after a warm-up, from events on
 * the device's clock. Every kernel's result is checked: a wrong kernel gives no time, and exit status 1. On the
 * software device the sizes are tiny and times are null. --ptx: takes the preprocessed texts from a folder instead
 * of those built in, to try a change where there is no compiler. --timed: times on the software device too, which
 * mean nothing, to test how they are reported. FILE is written anew after every measurement, so that a run cut short
 * leaves what it had; --append keeps what an earlier run of this machine has left there. */
#include "micro.h"
#include "../runtime/base/clock.h"
#include "../runtime/device/kernels.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* DIR/<file>.ptx, NUL-terminated; NULL and e where it cannot be read. */
static char *text_from(const char *dir, const char *file, qm_err *e) {
    enum { MOST = 1 << 20 };
    char path[4096], *s = malloc(MOST);
    size_t n = 0;
    snprintf(path, sizeof path, "%s/%s.ptx", dir, file);
    FILE *f = s ? fopen(path, "re") : NULL;
    if (f) {
        n = fread(s, 1, MOST - 1, f);
        if (ferror(f)) n = 0;
        fclose(f);
    }
    if (n) {
        s[n] = 0;
        return s;
    }
    free(s);
    qm_fail(e, QM_ERR_IO, "%s: cannot be read", path);
    return NULL;
}

int micro_function(micro *m, int module, const char *entry, CUfunction *f, qm_err *e) {
    static const char *const files[] = {"sync", "dependent", "stream", "bulk"};
    int rc = 0;
    if (!m->mod[module]) {
        char *own = m->ptx_dir ? text_from(m->ptx_dir, files[module], e) : NULL;
        if (m->ptx_dir && !own) return QM_ERR_IO;
        rc = qm_module_load(m->d, files[module], own ? own : qm_bench_ptx(files[module]), &m->mod[module], e);
        free(own);
        if (rc) return rc;
    }
    QM_CU_TRY(m->d, ModuleGetFunction(f, m->mod[module], entry));
out:
    return rc;
}

int micro_wanted(const micro *m, const char *name) { return !m->only || strstr(name, m->only); }

int micro_time(micro *m, micro_go go, void *user, uint32_t n, double *ns, double *host_ns, qm_err *e) {
    int rc = 0;
    float ms = 0;
    QM_CU_TRY(m->d, EventRecord(m->from, m->s));
    double t0 = qm_now();
    if ((rc = go(user, n, e))) goto out;
    double t1 = qm_now();
    QM_CU_TRY(m->d, EventRecord(m->to, m->s));
    QM_CU_TRY(m->d, EventSynchronize(m->to));
    QM_CU_TRY(m->d, EventElapsedTime(&ms, m->from, m->to));
    *ns = 1e6 * (double)ms;
    if (host_ns) *host_ns = 1e9 * (t1 - t0);
out:
    return rc;
}

static int save(const micro *m, int complete, const char *error);
void micro_report(micro *m, const char *name, json_t *params, double *ns, int n, double bytes, const char *wrong) {
    json_t *o = json_object(), *v = json_array();
    json_object_set_new(o, "name", json_string(name));
    json_object_set_new(o, "params", params ? params : json_object());
    double mid = n ? qm_bench_median(ns, n) : 0; /* sorts: ns[0] is the least */
    if (n && !m->sim && !wrong && mid <= 0) wrong = "more work took no longer: the machine was not quiet";
    int timed = n > 0 && m->timed && !wrong;
    for (int i = 0; timed && i < n; i++) json_array_append_new(v, json_real(ns[i]));
    json_object_set_new(o, "ns_median", timed ? json_real(mid) : json_null());
    json_object_set_new(o, "ns_min", timed ? json_real(ns[0]) : json_null());
    json_object_set_new(o, "samples_ns", v);
    if (bytes > 0) {
        json_object_set_new(o, "bytes", json_real(bytes));
        json_object_set_new(o, "bytes_per_s", timed ? json_real(1e9 * bytes / mid) : json_null());
        json_object_set_new(o, "bytes_per_s_best", timed ? json_real(1e9 * bytes / ns[0]) : json_null());
    }
    json_object_set_new(o, "checked", json_boolean(!wrong));
    if (wrong) json_object_set_new(o, "wrong", json_string(wrong));
    json_array_append_new(m->results, o);
    m->n_wrong += wrong != NULL;
    if (m->path) save(m, 0, ""); /* whether it can be written is told at the end */
    printf("%-44s ", name);
    if (wrong) printf("WRONG: %s\n", wrong);
    else if (!timed) printf("%12s %12s right (sim: no times)\n", "-", "-");
    else if (bytes > 0)
        printf("%12.1f %12.1f %8.1f GB/s (best %.1f)\n", mid / 1e3, ns[0] / 1e3, bytes / mid, bytes / ns[0]);
    else printf("%12.3f %12.3f\n", mid / 1e3, ns[0] / 1e3);
    fflush(stdout);
}

void micro_skip(micro *m, const char *name, const char *why) {
    json_array_append_new(m->results, json_pack("{s:s,s:s}", "name", name, "skipped", why));
    printf("%-44s skipped: %s\n", name, why);
}

static json_t *ns_of(const micro *m, const char *name) {
    size_t i;
    json_t *o, *v;
    json_array_foreach (m->results, i, o)
        if (!strcmp(json_string_value(json_object_get(o, "name")), name) && (v = json_object_get(o, "ns_median")))
            return json_incref(v);
    return json_null();
}

/* The highest rate of those whose names begin so. */
static json_t *best_of(const micro *m, const char *begin) {
    size_t i;
    json_t *o;
    double best = 0;
    json_array_foreach (m->results, i, o) {
        const double v = json_number_value(json_object_get(o, "bytes_per_s"));
        if (!strncmp(json_string_value(json_object_get(o, "name")), begin, strlen(begin)) && v > best) best = v;
    }
    return best > 0 ? json_real(best) : json_null();
}

/* What a design is decided by, in few figures; null where there is none. The last line of the table says it too. */
static json_t *summary(const micro *m) {
    static const struct {
        const char *key, *name;
    } rows[] = {
        {"barrier_ns", "sync/barrier 1x256"},
        {"hop_ns", "sync/hop_st middle"},
        {"fan_8k_ns", "sync/fan_cta c1 8192B"},
        {"graph_node_ns", "launch/graph empty wide"},
        {"dependent_node_ns", "launch/dependent graph empty"},
    };
    if (!m->timed) return json_null();
    json_t *o = json_object();
    static const char *const rates[][2] = {{"dram_read_bytes_per_s", "stream/dram "},
                                           {"l2_read_bytes_per_s", "stream/l2 "},
                                           {"copy_bytes_per_s", "copy/device to device"}};
    for (int i = 0; i < 3; i++) json_object_set_new(o, rates[i][0], best_of(m, rates[i][1]));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) json_object_set_new(o, rows[i].key, ns_of(m, rows[i].name));
    return o;
}

static void say_summary(const micro *m) {
    json_t *o = summary(m), *v;
    const char *key;
    size_t i, n_skipped = 0;
    json_array_foreach (m->results, i, v) n_skipped += json_object_get(v, "skipped") != NULL;
    printf("%zu measured, %zu skipped, %d wrong", json_array_size(m->results) - n_skipped, n_skipped, m->n_wrong);
    json_object_foreach (o, key, v) {
        const size_t n = strlen(key), rate = n > 12 && !strcmp(key + n - 12, "_bytes_per_s");
        if (!json_is_real(v)) continue;
        if (rate) printf(", %.*s %.0f GB/s", (int)n - 12, key, json_real_value(v) / 1e9);
        else printf(", %.*s %.2f us", (int)n - 3, key, json_real_value(v) / 1e3);
    }
    printf("\n");
    json_decref(o);
}

/* The file as a whole or not at all: a run may be killed at any time. */
static int save(const micro *m, int complete, const char *error) {
    char part[4096];
    json_t *root = json_object();
    json_object_set_new(root, "tool", json_string("micro"));
    json_object_set(root, "machine", m->machine);
    json_object_set_new(root, "times",
                        json_string(!m->timed ? "none (software device)"
                                    : m->sim  ? "of the software device: mean nothing"
                                              : "device events, ns"));
    json_object_set_new(root, "complete", json_boolean(complete));
    if (error[0]) json_object_set_new(root, "error", json_string(error));
    json_object_set_new(root, "summary", summary(m));
    json_object_set(root, "results", m->results);
    int rc = snprintf(part, sizeof part, "%s.part", m->path) >= (int)sizeof part ||
             json_dump_file(root, part, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) || rename(part, m->path);
    json_decref(root);
    return rc;
}

/* What an earlier run has left in a file; nothing where there is none. */
static json_t *earlier(const char *path) {
    json_t *root = json_load_file(path, 0, NULL), *v = json_incref(json_object_get(root, "results"));
    json_decref(root);
    return json_is_array(v) ? v : json_array();
}

static int usage(void) {
    fprintf(stderr, "usage: micro [--device auto|cuda:N|sim] [-o FILE [--append]] [-r REPEATS] [--only TEXT] [--ptx "
                    "DIR] [--timed]\n");
    return 2;
}

int main(int argc, char **argv) {
    micro m = {.repeats = 11};
    const char *spec = "auto", *path = NULL;
    qm_err e = {0};
    char why[256] = "";
    int rc = 1;
    int append = 0;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--timed")) {
            m.timed = 1;
            continue;
        }
        if (!strcmp(argv[i], "--append")) {
            append = 1;
            continue;
        }
        if (i + 1 == argc) return usage();
        if (!strcmp(argv[i], "--device")) spec = argv[++i];
        else if (!strcmp(argv[i], "-o")) path = argv[++i];
        else if (!strcmp(argv[i], "--only")) m.only = argv[++i];
        else if (!strcmp(argv[i], "--ptx")) m.ptx_dir = argv[++i];
        else if (!strcmp(argv[i], "-r")) {
            m.repeats = atoi(argv[++i]);
            if (m.repeats < 1 || m.repeats > 1000) return usage();
        } else return usage();
    }
    if (qm_device_open(&m.d, spec, why, sizeof why, &e)) goto failed;
    m.sim = !m.d->caps.timed;
    m.timed |= !m.sim;
    if (!m.timed) m.repeats = 1;
    m.l2_bytes = (size_t)qm_bench_attribute(m.d, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, 4 << 20);
    m.max_shared = qm_bench_attribute(m.d, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 48 << 10);
    m.machine = qm_bench_machine(m.d);
    m.path = path;
    m.results = append && path ? earlier(path) : json_array();
    const size_t n_before = json_array_size(m.results);
    if (m.d->cu.StreamCreate(&m.s, CU_STREAM_NON_BLOCKING) || m.d->cu.EventCreate(&m.from, 0) ||
        m.d->cu.EventCreate(&m.to, 0)) {
        qm_fail(&e, QM_ERR_DEVICE, "%s: no stream or event", m.d->spec);
        goto failed;
    }
    printf("%s: %s, %d multiprocessors, L2 %.1f MiB; %s\n", m.d->spec, m.d->name, m.d->n_sm,
           (double)m.l2_bytes / 1048576, why);
    printf("%-44s %12s %12s\n", "what", "median us", "min us");
    /* What fails in one group need not keep the others from being measured. */
    static const struct {
        const char *name;
        int (*all)(micro *m, qm_err *e);
    } groups[] = {{"sync", micro_sync_all}, {"launch", micro_launch_all}, {"stream", micro_stream_all}};
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        qm_err own = {0};
        if (!groups[i].all(&m, &own)) continue;
        json_array_append_new(m.results, json_pack("{s:s,s:s}", "name", groups[i].name, "error", own.msg));
        printf("%-44s FAILED: %s\n", groups[i].name, own.msg);
        if (!e.msg[0]) e = own;
    }
    if (e.msg[0]) goto failed;
    if (json_array_size(m.results) == n_before) {
        qm_fail(&e, QM_ERR_ARG, "no measurement's name contains '%s'", m.only);
        goto failed;
    }
    rc = m.n_wrong != 0;
    say_summary(&m);
failed:
    if (e.msg[0]) fprintf(stderr, "micro: %s\n", e.msg);
    if (m.results && path && save(&m, !e.msg[0], e.msg)) {
        fprintf(stderr, "micro: %s: cannot write\n", path);
        rc = 1;
    }
    if (m.d) {
        for (int i = 0; i < 4; i++)
            if (m.mod[i]) m.d->cu.ModuleUnload(m.mod[i]);
        if (m.from) m.d->cu.EventDestroy(m.from);
        if (m.to) m.d->cu.EventDestroy(m.to);
        if (m.s) m.d->cu.StreamDestroy(m.s);
    }
    json_decref(m.results);
    json_decref(m.machine);
    qm_device_close(m.d);
    return rc;
}
