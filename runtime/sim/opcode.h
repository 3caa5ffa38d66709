/* opcode.h: an instruction's handler, by name when code is decoded and by number when it runs. */
#ifndef QM_SIM_OPCODE_H
#define QM_SIM_OPCODE_H
#include "code.h"

typedef struct sim_warp sim_warp;
/* Executes one instruction for the lanes of m (never 0). */
typedef int (*sim_handler)(sim_warp *w, const sim_inst *in, uint32_t m);
enum { X_NEXT = 0, X_JUMP, X_RESCHED, X_FAULT, X_YIELD };

typedef struct {
    const char *name;
    sim_handler fn;
} sim_opcode;
extern const sim_opcode sim_opcodes_base[], sim_opcodes_avx2[], sim_opcodes_avx512[];
extern const sim_opcode sim_opcodes_scalar[];  /* compiled once: control, atomics, tensor */
int sim_opcode_find(const char *name);         /* index into the joined table, or -1 */
const sim_handler *sim_handlers(void);         /* best for this CPU; QMOE_SIM_ISA=base|avx2 forces less */
const sim_handler *sim_handlers_checked(void); /* memory ops call the hooks first */
#endif
