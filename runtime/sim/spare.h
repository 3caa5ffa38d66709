/* spare.h: memory that CTAs leave for those of later launches. A launch's registers and shared memory are some hundred KB, and
 * launches are many: given back to the system and taken anew each time, their pages are most of a small launch's cost. */
#ifndef SIM_SPARE_H
#define SIM_SPARE_H
#include <stddef.h>
/* At least `bytes`, aligned to 1024; whatever stands in it. NULL: no memory. Any thread, as are all three. */
void *sim_spare_take(size_t bytes);
void sim_spare_give(void *p); /* NULL is nothing */
void sim_spare_drop(void);    /* what nobody has goes back to the system */
#endif
