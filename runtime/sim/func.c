/* func.c: what is asked of an entry (module.h). */
#include "code.h"

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
