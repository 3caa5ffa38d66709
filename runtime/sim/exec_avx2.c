/* exec_avx2.c: the same for x86-64 with AVX2 and FMA. */
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt"))), apply_to = function)
#else
#pragma GCC optimize("O3,fp-contract=off,no-math-errno,no-trapping-math,no-strict-aliasing")
#pragma GCC target("avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt")
#endif
#define SIM_TABLE sim_opcodes_avx2
#include "exec_body.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
#include "opcode.h"
const sim_opcode sim_opcodes_avx2[] = {{0, 0}};
#endif
