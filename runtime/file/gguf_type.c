/* gguf_type.c: the numbers and sizes of GGUF value types and of ggml tensor types. */
#include "gguf_impl.h"

static const char *const kv_names[] = { "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool",
                                        "str", "arr", "u64", "i64", "f64" };
static const uint8_t kv_bytes[] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };

const char *qm_kv_type_name(uint32_t type) { return type <= QM_KV_F64 ? kv_names[type] : "?"; }
uint32_t qm_kv_scalar_bytes(uint32_t type) { return type <= QM_KV_F64 ? kv_bytes[type] : 0; }

/* block == 0: known by name only. */
static const struct { uint8_t type; const char *name; uint16_t block, bytes; } types[] = {
    { 0, "F32", 1, 4 },       { 1, "F16", 1, 2 },       { 2, "Q4_0", 0, 0 },     { 3, "Q4_1", 0, 0 },
    { 6, "Q5_0", 0, 0 },      { 7, "Q5_1", 0, 0 },      { 8, "Q8_0", 32, 34 },   { 9, "Q8_1", 0, 0 },
    { 10, "Q2_K", 0, 0 },     { 11, "Q3_K", 0, 0 },     { 12, "Q4_K", 256, 144 },
    { 13, "Q5_K", 256, 176 }, { 14, "Q6_K", 256, 210 }, { 15, "Q8_K", 0, 0 },    { 16, "IQ2_XXS", 0, 0 },
    { 17, "IQ2_XS", 0, 0 },   { 18, "IQ3_XXS", 0, 0 },  { 19, "IQ1_S", 0, 0 },   { 20, "IQ4_NL", 0, 0 },
    { 21, "IQ3_S", 0, 0 },    { 22, "IQ2_S", 0, 0 },    { 23, "IQ4_XS", 0, 0 },  { 24, "I8", 0, 0 },
    { 25, "I16", 0, 0 },      { 26, "I32", 0, 0 },      { 27, "I64", 0, 0 },     { 28, "F64", 0, 0 },
    { 29, "IQ1_M", 0, 0 },    { 30, "BF16", 1, 2 },     { 34, "TQ1_0", 0, 0 },   { 35, "TQ2_0", 0, 0 },
    { 39, "MXFP4", 0, 0 },
};

const char *qm_ggml_type_name(uint32_t type) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].type == type) return types[i].name;
    return "unknown";
}

int qm_ggml_type_size(uint32_t type, uint32_t *block, uint32_t *bytes) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].type == type && types[i].block) {
            *block = types[i].block;
            *bytes = types[i].bytes;
            return 1;
        }
    return 0;
}
