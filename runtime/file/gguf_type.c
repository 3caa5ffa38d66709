/* gguf_type.c: the numbers and sizes of GGUF value types and of ggml tensor types. */
#include "gguf_impl.h"

static const char *const kv_names[] = {"u8",   "i8",  "u16", "i16", "u32", "i32", "f32",
                                       "bool", "str", "arr", "u64", "i64", "f64"};
static const uint8_t kv_bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

const char *qm_kv_type_name(uint32_t type) { return type <= QM_KV_F64 ? kv_names[type] : "?"; }
uint32_t qm_kv_scalar_bytes(uint32_t type) { return type <= QM_KV_F64 ? kv_bytes[type] : 0; }

/* ggml.h's types and ggml-common.h's blocks: weights and bytes of each. 4, 5, 31 to 33 and 36 to 38 were withdrawn. */
static const struct {
    uint8_t type;
    const char *name;
    uint16_t block, bytes;
} types[] = {
    {0, "F32", 1, 4},         {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},      {3, "Q4_1", 32, 20},
    {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},      {8, "Q8_0", 32, 34},      {9, "Q8_1", 32, 36},
    {10, "Q2_K", 256, 84},    {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},
    {14, "Q6_K", 256, 210},   {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66}, {17, "IQ2_XS", 256, 74},
    {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50},   {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110},
    {22, "IQ2_S", 256, 82},   {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},         {25, "I16", 1, 2},
    {26, "I32", 1, 4},        {27, "I64", 1, 8},        {28, "F64", 1, 8},        {29, "IQ1_M", 256, 56},
    {30, "BF16", 1, 2},       {34, "TQ1_0", 256, 54},   {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17},
    {40, "NVFP4", 64, 36},    {41, "Q1_0", 128, 18},    {42, "Q2_0", 64, 18},
};

const char *qm_ggml_type_name(uint32_t type) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].type == type) return types[i].name;
    return "unknown";
}

int qm_ggml_type_size(uint32_t type, uint32_t *block, uint32_t *bytes) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].type == type) {
            *block = types[i].block;
            *bytes = types[i].bytes;
            return 1;
        }
    return 0;
}
