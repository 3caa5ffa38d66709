/* unit_sim_parse.c: what the PTX reader accepts, and that each refusal names its line and its word. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "simtext.h"

static void refused(const char *body, const char *want) {
    char text[4096];
    snprintf(text, sizeof text,
             SIMTEXT_HEAD ".visible .entry k() {\n.reg .u32 %%r<8>; .reg .f32 %%f<4>; .reg .pred %%p<4>; "
                          ".reg .u64 %%d<4>; .reg .b16 %%h<4>;\n%s\nret; }\n",
             body);
    const char *log = simtext_refused(text);
    if (!log) fail_msg("accepted: %s", body);
    if (!strstr(log, want)) fail_msg("`%s`: the log says `%s`, wanted `%s`", body, log, want);
}

static void opcodes_and_modifiers(void **state) {
    (void)state;
    refused("frobnicate.u32 %r1, %r2;", "line 6: unknown opcode `frobnicate`");
    refused("add.foo.s32 %r1, %r2, %r3;", "line 6: unknown modifier .foo in `add.foo.s32`");
    refused("\n\nadd.rna.f32 %f1, %f2, %f3;", "line 8: unknown modifier .rna in `add.rna.f32`");
    refused("add.sat.u32 %r1, %r2, %r3;", "do not go together");
    refused("fma.f32 %f1, %f2, %f3, %f1;", "do not go together (or one is missing): `fma.f32`");
    refused("ld.global.L1::no_alloc.u32 %r1, [%d1];", "unknown modifier .L1::no_alloc");
    refused("shfl.bfly.b32 %r1, %r2, 1, 31;", "`shfl.bfly.b32`");
    refused("cvt.u32.f32 %r1, %f1;", "`cvt.u32.f32`");
    /* .sat where no source overflows, as ptxas has it */
    const char *in_vain[] = {"s16.s16", "s16.u8",  "s32.s16", "s32.u16", "u32.u16",
                             "u16.u16", "s64.u32", "u64.u64", "s8.s8"};
    for (size_t i = 0; i < sizeof in_vain / sizeof *in_vain; i++) {
        char body[64];
        snprintf(body, sizeof body, "cvt.sat.%s %s, %s;", in_vain[i], strstr(in_vain[i], "64.") ? "%d1" : "%r1",
                 strstr(in_vain[i], ".u64") ? "%d2" : "%r2");
        refused(body, ".sat between integers");
    }
    refused("mul.u32 %r1, %r2, %r3;", "`mul.u32`");
    refused("ex2.f32 %f1, %f2;", "`ex2.f32`");
    refused("bar.sync.foo 0;", "unknown modifier .foo");
}

static void operands(void **state) {
    (void)state;
    refused("add.u32 %r1, %r2;", "operand 3 is missing");
    refused("add.u32 %r1, %r2, %r3, %r4;", "4 operands, not 3");
    refused("add.u32 %r1, %r2, %d1;", "is .u64, the instruction wants .u32");
    refused("add.u32 %r1, %r2, %f1;", "is .f32, the instruction wants .u32");
    refused("add.u32 5, %r2, %r3;", "destination");
    refused("add.u32 %tid.x, %r2, %r3;", "cannot be written");
    refused("add.u32 %r1, %r2, %r9;", "`%r9` is not declared");
    refused("add.u32 %r1, %r2, %r03;", "not declared");
    refused("add.u32 %r1, %r2, nowhere;", "`nowhere` is not declared");
    refused("add.u32 %r1, %r2, 0f3f800000;", "floating constant");
    refused("ld.global.u32 %r1, [%r2];", "not an address");
    refused("ld.global.v2.u32 %r1, [%d1];", "vector of 2");
    refused("ld.global.v4.u64 {%d0, %d1, %d2, %d3}, [%d1];", "at most 16 bytes");
    refused("@%r1 bra L;\nL:", "not a predicate");
    refused("setp.eq.u32 %r1, %r2, %r3;", "predicate");
    refused("lop3.b32 %r1, %r2, %r3, %r4, %r5;", "integer constant");
    refused("mov.u32 %r1, %nosuch;", "`%nosuch` is not declared");
    refused("mov.b64 {%r1, %r2, %r3}, %d1;", "unpack");
    refused("bra nowhere;", "label `nowhere` is not in scope");
    refused("call nofunc;", "function `nofunc` is not declared");
}

static void texts(void **state) {
    (void)state;
    static const struct {
        const char *text, *want;
    } bad[] = {
        {"", "no .version"},
        {".version 7.4\n", "no .target"},
        {".version 7.4\n.target sm_90a\n", "line 2: .target sm_90a"},
        {".version 7.4\n.target sm_80\n.address_size 32\n", "line 3: .address_size"},
        {SIMTEXT_HEAD ".visible .entry k() { ret;", "ends inside a block"},
        {SIMTEXT_HEAD ".visible .entry k() { ret; } /* ", "inside a comment"},
        {SIMTEXT_HEAD ".visible .entry k() { .reg .u32 a; .reg .u32 a; ret; }", "declared twice"},
        {SIMTEXT_HEAD ".visible .entry k() { ret; }\n.visible .entry k() { ret; }", "line 5: `k` is defined twice"},
        {SIMTEXT_HEAD ".visible .entry k() .maxntid 2048, 1, 1 { ret; }", ".maxntid"},
        {SIMTEXT_HEAD ".visible .entry k() .frob { ret; }", "unknown directive .frob"},
        {SIMTEXT_HEAD ".visible .entry k() { .reg .q32 a; ret; }", "unknown type or directive .q32"},
        {SIMTEXT_HEAD ".global .align 3 .b8 g[4];", "power of two"},
        {SIMTEXT_HEAD ".global .b8 g[4] = {1,2,3,4,5};", "too many initialisers"},
        {SIMTEXT_HEAD ".func f() { call f; ret; }\n.visible .entry k() { call f; ret; }", "recursion"},
        {SIMTEXT_HEAD ".func f();\n.visible .entry k() { call f; ret; }", "not defined"},
        {SIMTEXT_HEAD ".visible .entry k(.param .align 8 .b8 a[16]) { .reg .u64 x; ld.param.u64 x, [a+12]; ret; }",
         "beyond parameter"},
        {SIMTEXT_HEAD ".visible .entry k(.param .align 8 .b8 a[16]) { .reg .u64 x; ld.param.u64 x, [a+4]; ret; }",
         "misaligned"},
        {SIMTEXT_HEAD ".visible .entry k() { .shared .b8 s[300000]; .reg .u32 r; mov.u32 r, s; ret; }",
         "too much shared memory"},
        {SIMTEXT_HEAD ".visible .entry k() { .reg .u32 r; mov.u32 r, (1 / 0); ret; }", "divides by zero"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const char *log = simtext_refused(bad[i].text);
        if (!log) fail_msg("accepted: %s", bad[i].text);
        if (!strstr(log, bad[i].want)) fail_msg("`%s`: the log says `%s`, wanted `%s`", bad[i].text, log, bad[i].want);
    }
}

/* A name means the innermost declaration; an inner label hides an outer one. */
static void scopes(void **state) {
    (void)state;
    uint32_t o[32];
    assert_int_equal(simtext_run(SIMTEXT_HEAD SIMTEXT_ENTRY
                                 ".reg .u32 x; mov.u32 x, 5;\n"
                                 "{ .reg .u32 x; mov.u32 x, 7; { .reg .u32 x; mov.u32 x, 9; } add.u32 x, x, 100; }\n"
                                 "{ .reg .u32 n; .reg .pred p; mov.u32 n, 0;\nL: add.u32 n, n, 1; setp.lt.u32 p, n, 3; "
                                 "@p bra L;\n add.u32 x, x, n; }\n"
                                 "{ .reg .u32 n; .reg .pred p; mov.u32 n, 0;\nL: add.u32 n, n, 1; setp.lt.u32 p, n, 4; "
                                 "@p bra L;\n add.u32 x, x, n; }\n"
                                 "bra L; trap;\nL: add.u32 x, x, 1000;\n" SIMTEXT_PUT("x") "ret; }",
                                 1, 32, 0, o, 32),
                     SIM_OK);
    for (int i = 0; i < 32; i++) assert_int_equal(o[i], 5 + 3 + 4 + 1000);
}

/* Statements that share a line, constant expressions, number spellings, ranges whose stem ends in a digit. */
static void spelling(void **state) {
    (void)state;
    uint32_t o[32];
    assert_int_equal(
        simtext_run(
            SIMTEXT_HEAD SIMTEXT_ENTRY
            ".reg .u32 a,b , c;.reg .u32 %r1_<3>;mov.u32 a,0x10;mov.u32 b,(1<<4)|3;mov.u32 c,-1;add.u32 a,a,b;// end\n"
            "and.b32 c, c, 0b101; add.u32 a, a, c; mov.u32 %r1_2, 010; add.u32 a, a, %r1_2; /* two\nlines */ add.u32 "
            "a, a, 4*8+2*(3-1);\n"
            "add.u32 a, a, WARP_SZ; { .reg .f32 f; mov.f32 f, 1.5; .reg .u32 u; cvt.rzi.u32.f32 u, f; add.u32 a, a, u; "
            "}\n" SIMTEXT_PUT("a") "ret; }",
            1, 32, 0, o, 32),
        SIM_OK);
    assert_int_equal(o[3], 16 + 19 + 5 + 8 + 36 + 32 + 1);
}

/* Globals with initialisers, one of them an address; arrays of parameters; functions in both styles. */
static void module_items(void **state) {
    (void)state;
    uint32_t o[32];
    assert_int_equal(
        simtext_run(
            SIMTEXT_HEAD
            ".global .align 4 .u32 tab[4] = {10, 20, 30, 40};\n.const .align 8 .u64 where = tab+8;\n.const .f32 half = "
            "0f3f000000;\n"
            ".func (.reg .u32 r) twice(.reg .u32 x) { .reg .u32 x2; add.u32 x2, x, x; mov.u32 r, x2; ret; }\n"
            ".func (.param .b32 r) thrice(.param .b32 x) { .reg .u32 a; ld.param.u32 a, [x]; mul.lo.u32 a, a, 3; "
            "st.param.u32 [r], a; ret; }\n" SIMTEXT_ENTRY ".reg .u64 q; .reg .u32 v, u; .reg .f32 f;\n"
            "ld.const.u64 q, [where]; ld.global.u32 v, [q]; ld.const.f32 f, [half]; cvt.rpi.u32.f32 u, f; add.u32 v, "
            "v, u;\n"
            "ld.global.u32 u, [tab+4]; add.u32 v, v, u; call (v), twice, (v);\n"
            "{ .param .b32 a; .param .b32 r; st.param.b32 [a], v; call.uni (r), thrice, (a); ld.param.b32 v, [r]; }\n"
            "add.u32 v, v, %lane;\n" SIMTEXT_PUT("v") "ret; }",
            1, 32, 0, o, 32),
        SIM_OK);
    for (uint32_t i = 0; i < 32; i++) assert_int_equal(o[i], (30 + 1 + 20) * 6 + i);
    sim_module *m = simtext_load(
        SIMTEXT_HEAD ".visible .entry a(.param .u32 x, .param .u64 y, .param .align 16 .b8 z[20]) .reqntid 32 "
                     "{ .shared .align 16 .b8 s[48]; .reg .u32 r; mov.u32 r, s; ret; }\n.visible .global .u32 g;\n");
    sim_func *f = sim_module_func(m, "a");
    size_t off, n;
    uint64_t addr;
    assert_non_null(f);
    assert_int_equal(sim_func_param_bytes(f), 36);
    assert_int_equal(sim_func_param(f, 1, &off, &n), 0);
    assert_int_equal(off, 8);
    assert_int_equal(n, 8);
    assert_int_equal(sim_func_param(f, 3, &off, &n), -1);
    assert_int_equal(sim_func_static_shared(f), 48);
    assert_int_equal(sim_func_max_threads(f), 32);
    assert_int_equal(sim_module_global(m, "g", &addr, &n), 0);
    assert_int_equal(n, 4);
    assert_int_equal(sim_module_global(m, "h", &addr, &n), -1);
    assert_null(sim_module_func(m, "nosuch"));
    sim_module_free(m);
}

/* Text cut anywhere is refused or loaded, never worse (run this under the sanitizers). */
static void truncation(void **state) {
    (void)state;
    static const char text[] =
        SIMTEXT_HEAD ".global .u32 t[2] = {1, 2};\n.func (.reg .u32 r) f(.reg .u32 x) { add.u32 r, x, 1; ret; }\n"
                     ".visible .entry k(.param .u64 p) .maxntid 64 { .reg .b32 %r<4>; .reg .pred %p; .reg .u64 a; "
                     ".shared .align 16 .b8 s[64];\n"
                     "ld.param.u64 a, [p]; mov.b64 {%r0, %r1}, a; setp.eq.and.u32 %p|%p, %r0, %r1, !%p; @!%p bra L; "
                     "call (%r0), f, (%r1);\n"
                     "L: ld.shared.v4.u32 {%r0, %r1, %r2, _}, [s+16]; shfl.sync.idx.b32 %r0|%p, %r1, 0, 31, -1; "
                     "st.global.u32 [a+4*2], %r0; ret; }\n";
    char cut[sizeof text];
    assert_null(simtext_refused(text));
    for (size_t n = 0; n < sizeof text - 1; n++) {
        memcpy(cut, text, n);
        cut[n] = 0;
        simtext_refused(cut);
    }
    char deep[4000] = SIMTEXT_HEAD ".visible .entry k() { .reg .u32 r; mov.u32 r, ";
    for (int i = 0; i < 1500; i++) strcat(deep, "(");
    assert_non_null(simtext_refused(deep));
    strcpy(deep, SIMTEXT_HEAD ".visible .entry k() ");
    for (int i = 0; i < 1500; i++) strcat(deep, "{");
    assert_non_null(simtext_refused(deep));
    strcpy(deep, SIMTEXT_HEAD ".global .u32 g[9] = ");
    for (int i = 0; i < 1500; i++) strcat(deep, "{");
    assert_non_null(simtext_refused(deep));
    strcpy(deep, SIMTEXT_HEAD ".visible .entry k() { .reg .u32 r; mov.u32 r, ");
    for (int i = 0; i < 1500; i++) strcat(deep, "{");
    assert_non_null(simtext_refused(deep));
}

int main(void) {
    const struct CMUnitTest t[] = {
        cmocka_unit_test(opcodes_and_modifiers),
        cmocka_unit_test(operands),
        cmocka_unit_test(texts),
        cmocka_unit_test(scopes),
        cmocka_unit_test(spelling),
        cmocka_unit_test(module_items),
        cmocka_unit_test(truncation),
    };
    return cmocka_run_group_tests_name("sim_parse", t, NULL, NULL);
}
