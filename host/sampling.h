/* sampling.h: how tokens are chosen, as the user says it: options of a command, /set in a chat. */
#ifndef QM_HOST_SAMPLING_H
#define QM_HOST_SAMPLING_H
#include <stdio.h>
#include "host.h"

extern const struct poptOption qm_sampling_table[]; /* --temp --top-k ... */

/* Checks the options against their ranges, before any model is opened: -1 to go on, or the exit status. */
int qm_sampling_args(void);
/* The file's defaults, then what the options said. A seed that was not given is drawn. */
void qm_sampling_choose(const qm_engine *g, qm_sampling *p);
/* Whether the options said which. */
int qm_sampling_seeded(void);
/* One parameter by its name ("top-k" or "top_k"): 0, or -1 and one line on stderr that tells the range or the names. */
int qm_sampling_set(qm_sampling *p, const char *name, const char *value);
/* Whether nothing is drawn, so that the seed does not matter. */
int qm_sampling_greedy(const qm_sampling *p);
/* "temp 0.8, top-k 40, ..., seed 7": what a choice depends on; greedy needs no more than to be called so. */
void qm_sampling_print(FILE *f, const qm_sampling *p);
/* Every parameter on a line of its own. */
void qm_sampling_list(FILE *f, const qm_sampling *p);
struct json_t;
struct json_t *qm_sampling_json(const qm_sampling *p);
#endif
