/* mem.h: device memory. A device address IS a host address inside a live allocation, so a checked access is a plain
 * load. */
#ifndef QM_SIM_MEM_H
#define QM_SIM_MEM_H
#include <stddef.h>
#include <stdint.h>

typedef struct sim_alloc {
    uint64_t base, size; /* [base, base+size) */
    int live;            /* 0: freed (kept in quarantine so that use-after-free is named) */
    uint32_t id;         /* running number, for reports */
    const char *what;    /* "cuMemAlloc", "module global NAME", "host pinned" */
    uint8_t *init;       /* one byte per byte, 1 = written; NULL unless check_uninit */
    void *race; /* [race_bytes], race.c's shadow: made at the first access under its check, freed with the allocation */
    size_t race_bytes;
    void *writers; /* [writers_bytes], depend.c's: likewise */
    size_t writers_bytes;
} sim_alloc;
/* The allocation (live or quarantined) that holds addr, else NULL. Thread-safe against other readers;
 * the table changes only between launches. A caller should cache the last hit. */
const sim_alloc *sim_mem_find(uint64_t addr);
sim_alloc *sim_mem_new(size_t bytes, const char *what); /* 256-byte aligned; NULL if device memory is full */
int sim_mem_free(uint64_t base);                        /* 0, or -1 if base is not a live allocation */
size_t sim_mem_used(void);                              /* bytes charged to the device */
/* Is [addr, addr+n) inside one live allocation? If not, says why in why[]. */
int sim_mem_range(uint64_t addr, size_t n, char *why, size_t why_n);
void sim_mem_mark_init(uint64_t addr, size_t n);              /* written by the host */
void sim_mem_move_init(uint64_t dst, uint64_t src, size_t n); /* copied within the device */
void sim_mem_free_all(void);                                  /* the context ends: live and quarantined alike */
#endif
