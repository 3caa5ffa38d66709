/* ask.c: what an API makes of a request (task.h). */
#include <stdlib.h>
#include "task.h"

void task_ask_free(task_ask *a) {
    qm_tokens_free(&a->prompt);
    free(a->tools);
    free(a->bias);
    for (size_t i = 0; i < a->n_stop; i++) free(a->stop[i]);
    free(a->stop);
    qm_guide_close(a->guide);
    *a = (task_ask){0};
}
