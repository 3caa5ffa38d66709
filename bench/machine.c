/* machine.c: what every bench needs: the machine for its result file, attributes, texts, medians. */
#include "bench.h"
#include "../runtime/observe/machine.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int qm_bench_attribute(qm_device *d, CUdevice_attribute a, int otherwise) {
    int v;
    return d->cu.DeviceGetAttribute(&v, a, d->dev) == CUDA_SUCCESS ? v : otherwise;
}

/* Clocks of this moment, in MHz, from NVML (libnvidia-ml.so.1 is part of the driver). */
static json_t *clocks_of(qm_device *d) {
    typedef struct nvml_device *device;
    int (*init)(void), (*by_bus)(const char *, device *), (*clock)(device, int, unsigned *), (*shutdown)(void);
    json_t *o = NULL;
    char bus[32];
    device dev;
    unsigned sm, mem;
    if (!d->caps.timed) return json_null();
    void *lib = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!lib) return json_null();
    void *p[] = {dlsym(lib, "nvmlInit_v2"), dlsym(lib, "nvmlDeviceGetHandleByPciBusId_v2"),
                 dlsym(lib, "nvmlDeviceGetClockInfo"), dlsym(lib, "nvmlShutdown")};
    if (p[0] && p[1] && p[2] && p[3]) {
        memcpy(&init, &p[0], sizeof init);
        memcpy(&by_bus, &p[1], sizeof by_bus);
        memcpy(&clock, &p[2], sizeof clock);
        memcpy(&shutdown, &p[3], sizeof shutdown);
        snprintf(bus, sizeof bus, "%08x:%02x:%02x.0",
                 (unsigned)qm_bench_attribute(d, CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID, 0),
                 (unsigned)qm_bench_attribute(d, CU_DEVICE_ATTRIBUTE_PCI_BUS_ID, 0),
                 (unsigned)qm_bench_attribute(d, CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID, 0));
        if (!init()) {
            if (!by_bus(bus, &dev)) { /* 1, 2: NVML_CLOCK_SM, NVML_CLOCK_MEM */
                o = json_object();
                json_object_set_new(o, "sm", clock(dev, 1, &sm) ? json_null() : json_integer((json_int_t)sm));
                json_object_set_new(o, "memory", clock(dev, 2, &mem) ? json_null() : json_integer((json_int_t)mem));
            }
            shutdown();
        }
    }
    dlclose(lib);
    return o ? o : json_null();
}

json_t *qm_bench_machine(qm_device *d) {
    qm_machine m;
    qm_machine_of(d, &m);
    json_t *o = qm_machine_object(&m);
    json_object_set_new(o, "clocks_mhz", clocks_of(d));
    return o;
}

/* tools/embed.sh puts the texts of bench/ptx here, as it does for the kernels (runtime/device/texts.c). */
typedef struct {
    const char *name, *text;
} embedded_text;
extern const embedded_text qm_bench_embedded[];

const char *qm_bench_ptx(const char *file) {
    size_t n = strlen(file);
    for (const embedded_text *t = qm_bench_embedded; t->name; t++)
        if (!strncmp(t->name, file, n) && !strcmp(t->name + n, ".ptx")) return t->text;
    return NULL;
}

static int rising(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
double qm_bench_median(double *v, int n) {
    qsort(v, (size_t)n, sizeof *v, rising);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}
