/* module.h: PTX text to modules, and what is asked of their entries. */
#ifndef QM_SIM_MODULE_H
#define QM_SIM_MODULE_H
#include <stddef.h>
#include <stdint.h>

typedef struct sim_module sim_module;
typedef struct sim_func sim_func;
/* Returns NULL and fills log ("line 12: unknown modifier .foo in `add.foo.s32`") on any rejection. */
sim_module *sim_module_load(const char *ptx, char *log, size_t log_n);
void sim_module_free(sim_module *m);
sim_func *sim_module_func(sim_module *m, const char *entry);
int sim_module_global(sim_module *m, const char *name, uint64_t *addr, size_t *bytes); /* 0 or -1 */
const char *sim_func_name(const sim_func *f);
size_t sim_func_param_bytes(const sim_func *f);
/* i-th .param of the entry: 0, or -1 past the end */
int sim_func_param(const sim_func *f, int i, size_t *off, size_t *bytes);
uint32_t sim_func_static_shared(const sim_func *f);
uint32_t sim_func_max_threads(const sim_func *f); /* .maxntid, or 1024 */
uint32_t sim_func_n_regs(const sim_func *f);      /* of 32 bits, that have storage: a rough figure */
#endif
