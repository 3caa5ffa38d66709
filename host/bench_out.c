/* bench_out.c: the four formats of `qmoe-gpu bench`. A record is one JSON object, with llama-bench's names for
 * what llama-bench has; json is an array of them, jsonl one a line, csv the same flattened ("machine_cpu"),
 * md a table for people, with what was measured once below it. Each record is written as its test ends. */
#include "bench.h"
#include "json.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JSON_FORM = JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(9) };

static json_t *integer(double v) { return json_integer((json_int_t)llround(v)); }
/* null for what was not measured. */
static json_t *rate(double v) { return v > 0 ? integer(v) : json_null(); }
static json_t *share(double part, double whole) {
    return whole > 0 && part >= 0 ? json_real(part / whole) : json_null();
}

/* Bytes a second through the slower of the two ways that weights come; 0 where neither is known. */
static double slower(const qm_load_limits *l, const char **which) {
    int bus = l->bus > 0 && (l->storage <= 0 || l->bus < l->storage);
    *which = bus ? "bus" : l->storage > 0 ? "storage" : NULL;
    return bus ? l->bus : l->storage;
}

/* Without the modules: the driver compiles them once, and what is left is held against storage and bus. */
static double load_rate(const qm_engine_info *i) {
    double s = i->load_s - i->compile_s;
    return s > 0 ? (double)i->weight_bytes / s : 0;
}

static json_t *load_json(const qm_bench_facts *f) {
    const char *which;
    double limit = slower(&f->limits, &which), got = load_rate(&f->info);
    return json_pack("{s:f, s:f, s:f, s:I, s:o, s:o, s:b, s:o, s:s?, s:o, s:o}", "seconds", f->info.load_s,
                     "upload_seconds", f->info.upload_s, "compile_seconds", f->info.compile_s, "bytes",
                     (json_int_t)f->info.weight_bytes, "bytes_per_s", rate(got), "storage_bytes_per_s",
                     rate(f->limits.storage), "storage_direct", f->limits.direct, "bus_bytes_per_s",
                     rate(f->limits.bus), "slower", which, "fraction_of_slower", share(got, limit), "file_cached",
                     share(f->file_cached, 1));
}

static json_t *bandwidth_json(const qm_bandwidth *b) {
    if (!b->passes) return json_null();
    return json_pack("{s:o, s:o, s:o, s:o, s:I, s:i}", "read_bytes_per_s", rate(b->read_best),
                     "read_median_bytes_per_s", rate(b->read_median), "copy_bytes_per_s", rate(b->copy_best),
                     "copy_median_bytes_per_s", rate(b->copy_median), "bytes", (json_int_t)b->bytes, "passes",
                     (int)b->passes);
}

static json_t *samples(const qm_bench_record *r, int as_rate) {
    json_t *a = json_array();
    const double tokens = (double)r->test.n_seqs * (r->test.n_prompt + r->test.n_gen);
    for (uint32_t i = 0; i < r->test.reps; i++) {
        uint64_t ns = r->samples_ns[i] ? r->samples_ns[i] : 1;
        json_array_append_new(a, as_rate ? json_real(1e9 * tokens / (double)ns) : json_integer((json_int_t)ns));
    }
    return a;
}

static json_t *record_json(const qm_bench_options *o, const qm_bench_facts *f, const qm_bench_record *r) {
    const qm_engine_info *i = &f->info;
    const qm_bench_result *x = &r->result;
    const qm_bench_test *t = &r->test;
    double bytes = x->weight_bytes + x->kv_bytes, bps = bytes * x->avg_ts;
    json_t *j =
        json_pack("{s:s, s:s, s:o, s:o, s:s, s:o, s:s, s:I, s:s, s:b, s:b, s:s, s:I, s:I, s:I, s:I, s:i, s:i}", "test",
                  r->name, "build_commit", f->machine.commit, "cpu_info", qm_host_json_str(f->machine.cpu), "gpu_info",
                  qm_host_json_str(i->device_name), "backends", f->machine.simulated ? i->device : "CUDA",
                  "model_filename", qm_host_json_str(o->model), "model_type", i->arch, "model_size",
                  (json_int_t)i->weight_bytes, "executor", i->executor, "concurrent", i->concurrent, "dependent",
                  i->dependent, "apart", qm_apart ? qm_apart : "none", "flight_bytes", (json_int_t)i->flight_bytes,
                  "prefetch_bytes", (json_int_t)i->prefetch_bytes, "ring_bytes", (json_int_t)i->ring_bytes,
                  "kept_bytes", (json_int_t)i->kept_bytes, "narrow", i->n_narrow, "n_ctx", (int)i->n_ctx);
    json_t *k = json_pack("{s:i, s:i, s:i, s:i, s:i, s:s, s:o, s:o, s:f, s:f, s:o, s:o}", "n_prompt", (int)t->n_prompt,
                          "n_gen", (int)t->n_gen, "n_depth", (int)t->depth, "n_seqs", (int)t->n_seqs, "n_ubatch",
                          o->n_ubatch ? (int)o->n_ubatch : QM_UBATCH_MOST, "test_time", r->time, "avg_ns",
                          integer(x->avg_ns), "stddev_ns", integer(x->stddev_ns), "avg_ts", x->avg_ts, "stddev_ts",
                          x->stddev_ts, "samples_ns", samples(r, 0), "samples_ts", samples(r, 1));
    json_t *m =
        json_pack("{s:b, s:b, s:s, s:s?, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "warmup", t->warmup, "sampling_timed", 1,
                  "sampling", "greedy", "depth_filled_by", t->depth ? t->prefill ? "prefill" : "random" : NULL, "seed",
                  (json_int_t)t->seed, "first_token_ns", integer(x->first_token_ns), "bytes_per_token", integer(bytes),
                  "weight_bytes_per_token", integer(x->weight_bytes), "kv_bytes_per_token", integer(x->kv_bytes),
                  "bytes_per_s", rate(bps), "fraction_of_bandwidth", share(bps, f->bandwidth.read_best));
    json_t *memory =
        json_pack("{s:I, s:I, s:s, s:I, s:o, s:o}", "weights_bytes", (json_int_t)i->weight_bytes, "kv_bytes",
                  (json_int_t)i->kv_bytes, "kv_type", i->cache, "scratch_bytes", (json_int_t)i->scratch_bytes,
                  "device_used_bytes", rate((double)f->used), "device_bytes", rate((double)f->total));
    if (!j || !k || !m || !memory) {
        json_decref(j), json_decref(k), json_decref(m), json_decref(memory);
        return NULL;
    }
    json_object_update(j, k);
    json_object_update(j, m);
    json_decref(k);
    json_decref(m);
    json_object_set_new(j, "bandwidth", bandwidth_json(&f->bandwidth));
    json_object_set_new(j, "load", load_json(f));
    json_object_set_new(j, "memory", memory);
    char *machine = qm_machine_json(&f->machine);
    json_object_set_new(j, "machine", machine ? json_loads(machine, 0, NULL) : json_null());
    free(machine);
    return j;
}

/* ---- csv ---- */

static void csv_cell(const char *s, int first) {
    if (!first) putchar(',');
    putchar('"');
    for (; *s; s++) {
        if (*s == '"') putchar('"');
        putchar(*s);
    }
    putchar('"');
}

/* Names or values of the leaves; arrays are left out, as in llama-bench. The keys are the same in every record. */
static void csv_row(json_t *j, const char *prefix, int names, int *first) {
    const char *key;
    json_t *v;
    json_object_foreach (j, key, v) {
        char name[96];
        snprintf(name, sizeof name, "%s%s%s", prefix, *prefix ? "_" : "", key);
        if (json_is_array(v)) continue;
        if (json_is_object(v)) {
            csv_row(v, name, names, first);
            continue;
        }
        char *text = names || json_is_string(v) || json_is_null(v) ? NULL : json_dumps(v, JSON_ENCODE_ANY | JSON_FORM);
        csv_cell(names ? name : json_is_string(v) ? json_string_value(v) : text ? text : "", *first);
        *first = 0;
        free(text);
    }
}

/* ---- md ---- */

static void md_record(const qm_bench_options *o, const qm_bench_facts *f, const qm_bench_record *r) {
    const qm_bench_result *x = &r->result;
    double bytes = x->weight_bytes + x->kv_bytes;
    char a[32], ts[48], of[16] = "-";
    (void)o;
    snprintf(ts, sizeof ts, "%.2f ± %.2f", x->avg_ts, x->stddev_ts);
    if (f->bandwidth.read_best > 0) snprintf(of, sizeof of, "%.1f%%", 100 * bytes * x->avg_ts / f->bandwidth.read_best);
    /* ± is two bytes and one column */
    printf("| %-30.30s | %10s | %-8s | %17s | %21s | %10.2f | %8.2f | %6s | %10.3f |\n", f->info.name,
           qm_host_bytes(a, sizeof a, f->info.weight_bytes), f->info.device, r->name, ts, 1e-6 * bytes,
           1e-9 * bytes * x->avg_ts, of, 1e-6 * x->first_token_ns);
}

static void md_begin(void) {
    printf("| %-30s | %10s | %-8s | %17s | %20s | %10s | %8s | %6s | %10s |\n", "model", "size", "device", "test",
           "t/s", "MB/token", "GB/s", "of max", "first ms");
    printf("| ------------------------------ | ---------: | -------- | ----------------: | -------------------: | "
           "---------: | -------: | -----: | ---------: |\n");
}

static void md_end(const qm_bench_options *o, const qm_bench_facts *f) {
    const qm_bandwidth *b = &f->bandwidth;
    const qm_engine_info *i = &f->info;
    const char *which;
    double limit = slower(&f->limits, &which);
    char x[32], y[32], z[32];
    printf("\n%s: %s (%s), executor %s%s, commit %s\n", f->machine.simulated ? "no GPU" : "device", i->device,
           i->device_name, i->executor, i->dependent ? ", dependent launches" : "", f->machine.commit);
    if (*i->executor_why) printf("executor: auto, %s\n", i->executor_why);
    if (f->machine.simulated) printf("times are this host's: they say nothing about a GPU\n");
    else printf("driver %s, CUDA %s\n", f->machine.driver[0] ? f->machine.driver : "?", f->machine.cuda);
    printf("sampling (greedy) is part of every time; MB/token: weights, keys and values that a token reads\n");
    if (b->passes)
        printf(
            "of max: of the measured read bandwidth, %.2f GB/s (median %.2f; copy %.2f, median %.2f; %s, %u passes)\n",
            1e-9 * b->read_best, 1e-9 * b->read_median, 1e-9 * b->copy_best, 1e-9 * b->copy_median,
            qm_host_bytes(x, sizeof x, b->bytes), b->passes);
    for (int k = 0; k < o->depth.n; k++)
        if (o->depth.v[k]) {
            printf("depth: the cache was filled %s\n",
                   o->prefill ? "by computing it" : "with random keys and values, not computed");
            break;
        }
    printf("load: %.2f s (%.2f of them buffers and weights, %.2f modules), %.2f GB/s", i->load_s, i->upload_s,
           i->compile_s, 1e-9 * load_rate(i));
    if (which)
        printf(", %.0f%% of the slower of storage (%.2f GB/s%s) and bus (%.2f GB/s): %s", 100 * load_rate(i) / limit,
               1e-9 * f->limits.storage, f->limits.direct ? "" : ", through the page cache", 1e-9 * f->limits.bus,
               which);
    if (f->file_cached >= 0) printf("; %.0f%% of the file was in the page cache", 100 * f->file_cached);
    printf("\nmemory: %s of weights, %s of KV cache for %u positions in %s, %s of scratch",
           qm_host_bytes(x, sizeof x, i->weight_bytes), qm_host_bytes(y, sizeof y, i->kv_bytes), i->n_ctx, i->cache,
           qm_host_bytes(z, sizeof z, i->scratch_bytes));
    if (f->total)
        printf("; %s of %s in use on the device", qm_host_bytes(x, sizeof x, f->used),
               qm_host_bytes(y, sizeof y, f->total));
    printf("\n");
}

/* ---- the formats ---- */

static int flushed(void) {
    if (!fflush(stdout) && !ferror(stdout)) return 0;
    qm_host_say("writing to the standard output failed");
    return 1;
}

int qm_bench_out_begin(const qm_bench_options *o, const qm_bench_facts *f) {
    (void)f;
    if (o->format == QM_FORMAT_MD) md_begin();
    if (o->format == QM_FORMAT_JSON) printf("[\n");
    return flushed();
}

int qm_bench_out_record(const qm_bench_options *o, const qm_bench_facts *f, const qm_bench_record *r, int index) {
    int first = 1, bad = 0;
    if (o->format == QM_FORMAT_MD) {
        md_record(o, f, r);
        return flushed();
    }
    json_t *j = record_json(o, f, r);
    if (!j) {
        qm_host_say("bench: cannot build the record of %s: is the model's path UTF-8?", r->name);
        return 1;
    }
    if (o->format == QM_FORMAT_CSV) {
        if (!index) {
            csv_row(j, "", 1, &first);
            putchar('\n');
        }
        first = 1;
        csv_row(j, "", 0, &first);
    } else {
        if (o->format == QM_FORMAT_JSON && index) printf(",\n");
        bad = json_dumpf(j, stdout, JSON_FORM | (o->format == QM_FORMAT_JSON ? JSON_INDENT(2) : 0)) != 0;
    }
    if (o->format != QM_FORMAT_JSON) putchar('\n');
    json_decref(j);
    return flushed() || bad;
}

int qm_bench_out_end(const qm_bench_options *o, const qm_bench_facts *f) {
    if (o->format == QM_FORMAT_MD) md_end(o, f);
    if (o->format == QM_FORMAT_JSON) printf("\n]\n");
    return flushed();
}
