/* exec_async.c: copies that happen later. */
#include <stdlib.h>
#include "exec_slow.h"
#include "exec.h"
void sim_async_free(sim_warp *w) {
    free(w->async);
    w->async = NULL;
    w->cap_async = w->n_async = 0;
}
