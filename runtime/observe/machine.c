/* machine.c: the facts of the machine, as far as they can be read without NVML and without root. */
#include "machine.h"
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include "../base/json.h"
#include "../engine/inside.h"

#ifndef QM_COMMIT
#define QM_COMMIT "unknown" /* the Makefile knows */
#endif

/* The kernel module's version: the first word of digits and dots in the NVRM line, e.g.
 *   NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27 ... */
static void read_driver(char *out, size_t n) {
    char line[256], *save = NULL;
    FILE *f = fopen("/proc/driver/nvidia/version", "re");
    if (!f) return;
    if (fgets(line, sizeof line, f))
        for (char *w = strtok_r(line, " \t\n", &save); w; w = strtok_r(NULL, " \t\n", &save))
            if (strchr(w, '.') && w[strspn(w, "0123456789.")] == 0) {
                snprintf(out, n, "%s", w);
                break;
            }
    fclose(f);
}

/* x86 has a "model name"; Arm has only numbers, and device trees a "model". */
static void read_cpu(char *out, size_t n) {
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (!colon || strncmp(line, "model name", 10)) continue;
        snprintf(out, n, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (f) fclose(f);
    if (out[0] || !(f = fopen("/sys/firmware/devicetree/base/model", "re"))) return;
    size_t k = fread(out, 1, n - 1, f);
    out[k] = 0;
    fclose(f);
}

static uint64_t attribute(qm_device *d, CUdevice_attribute a) {
    int v = 0;
    return d->cu.DeviceGetAttribute(&v, a, d->dev) || v < 0 ? 0 : (uint64_t)v;
}

void qm_machine_of(qm_device *d, qm_machine *m) {
    memset(m, 0, sizeof *m);
    struct utsname u;
    time_t now = time(NULL);
    struct tm tm;
    if (gmtime_r(&now, &tm)) strftime(m->date, sizeof m->date, "%Y-%m-%dT%H:%M:%SZ", &tm);
    if (!uname(&u)) {
        snprintf(m->os, sizeof m->os, "%.60s %.60s", u.sysname, u.release);
        snprintf(m->arch, sizeof m->arch, "%.31s", u.machine);
    }
    read_cpu(m->cpu, sizeof m->cpu);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    m->n_cpu = n > 0 ? (uint32_t)n : 0;
    snprintf(m->version, sizeof m->version, "%s", QM_VERSION);
    snprintf(m->commit, sizeof m->commit, "%s", QM_COMMIT);
    snprintf(m->device, sizeof m->device, "%s", d ? d->spec : "host");
    snprintf(m->device_name, sizeof m->device_name, "%s", d ? d->name : "C reference");
    m->simulated = !d || !d->caps.timed;
    if (!d) return;
    m->cc = (uint32_t)(10 * d->cc_major + d->cc_minor);
    m->n_sm = (uint32_t)d->n_sm;
    m->mem_bytes = d->total_mem;
    if (m->simulated) return; /* its clocks and caches are made up */
    read_driver(m->driver, sizeof m->driver);
    snprintf(m->cuda, sizeof m->cuda, "%d.%d", d->driver_version / 1000, d->driver_version % 1000 / 10);
    m->clock_khz = (uint32_t)attribute(d, CU_DEVICE_ATTRIBUTE_CLOCK_RATE);
    m->mem_clock_khz = (uint32_t)attribute(d, CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE);
    m->mem_bus_bits = (uint32_t)attribute(d, CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH);
    m->l2_bytes = attribute(d, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE);
}

void qm_engine_machine(const qm_engine *g, qm_machine *m) { qm_machine_of(qm_inside_device(g), m); }

static json_t *number(uint64_t v) { return v ? json_integer((json_int_t)v) : json_null(); }
static json_t *text(const char *s) { return *s ? qm_json_str(s) : json_null(); }

json_t *qm_machine_object(const qm_machine *m) {
    return json_pack("{s:o, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
                     "device", text(m->device), "device_name", text(m->device_name), "simulated", m->simulated,
                     "driver", text(m->driver), "cuda", text(m->cuda), "compute_capability",
                     m->cc ? json_sprintf("%u.%u", m->cc / 10, m->cc % 10) : json_null(), "multiprocessors",
                     number(m->n_sm), "memory_bytes", number(m->mem_bytes), "l2_bytes", number(m->l2_bytes),
                     "clock_khz_peak", number(m->clock_khz), "memory_clock_khz_peak", number(m->mem_clock_khz),
                     "memory_bus_bits", number(m->mem_bus_bits), "cpu", text(m->cpu), "cores", number(m->n_cpu), "os",
                     text(m->os), "arch", text(m->arch), "version", text(m->version), "commit", text(m->commit), "date",
                     text(m->date));
}

char *qm_machine_json(const qm_machine *m) {
    json_t *o = qm_machine_object(m);
    char *text = o ? json_dumps(o, JSON_PRESERVE_ORDER | JSON_COMPACT) : NULL;
    json_decref(o);
    return text;
}
