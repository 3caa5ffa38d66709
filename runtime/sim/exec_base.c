/* exec_base.c: the interpreter's hot handlers for any CPU. Contracted multiply-adds would change
 * results; math errno and traps would keep loops from vectorising. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3,fp-contract=off,no-math-errno,no-trapping-math,no-strict-aliasing")
#endif
#define SIM_TABLE sim_opcodes_base
#include "exec_body.inc"
