/* synth.c: qmoe-gpu synth: writes a random model of any shape. */
#include "host.h"
#include "runtime/qmoe_tools.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>

static int show(void *user, uint64_t done, uint64_t total) {
    qm_progress_bytes(user, done, total);
    return 0;
}

int qm_cmd_synth(int argc, char **argv) {
    static char *out, *preset, *types;
    static long long seed = 1;
    enum { UNSET = INT_MIN }; /* the preset's */
    static int sparse, tied, bf16_routers, layers = UNSET, embd = UNSET, heads = UNSET, kv_heads = UNSET,
                                           head_dim = UNSET, experts = UNSET, used = UNSET, ff = UNSET, vocab = UNSET,
                                           ctx = UNSET;
    static const struct {
        const char *name;
        int *v;
    } counts[] = {
        {"layers", &layers},     {"embd", &embd},       {"heads", &heads},       {"kv-heads", &kv_heads},
        {"head-dim", &head_dim}, {"experts", &experts}, {"experts-used", &used}, {"ff", &ff},
        {"vocab", &vocab},       {"ctx", &ctx},
    };
    static const struct poptOption table[] = {
        {"output", 'o', POPT_ARG_STRING, &out, 0, "the file to write (required)", "FILE"},
        {"preset", 'p', POPT_ARG_STRING, &preset, 0,
         "tiny (34 MiB, the default), qwen3-30b-a3b (17.3 GiB, the true shape), tiny-dense ...; a name that is none "
         "lists all",
         "NAME"},
        {"seed", 's', POPT_ARG_LONGLONG, &seed, 0, "same seed, same bytes (default 1)", "N"},
        {"types", 't', POPT_ARG_STRING, &types, 0,
         "a type of quantize's: q4_k_m (default), q5_k_m, or one for all matrices, as f16, q8_0 or q6_k", "MIX"},
        {"sparse", 0, POPT_ARG_NONE, &sparse, 0,
         "the shape alone: weights are zeros that take no disk (for inspect and bench --predict)", NULL},
        {"tied", 0, POPT_ARG_NONE, &tied, 0, "the embedding is the output matrix too, as in qwen3-0.6b", NULL},
        {"bf16-routers", 0, POPT_ARG_NONE, &bf16_routers, 0,
         "the routers' F32 weights are BF16 values, as in qwen3-30b-a3b and in files made of BF16 weights", NULL},
        {"layers", 0, POPT_ARG_INT, &layers, 0, "number of layers", "N"},
        {"embd", 0, POPT_ARG_INT, &embd, 0, "embedding length, a multiple of 32", "N"},
        {"heads", 0, POPT_ARG_INT, &heads, 0, "query heads", "N"},
        {"kv-heads", 0, POPT_ARG_INT, &kv_heads, 0, "key and value heads", "N"},
        {"head-dim", 0, POPT_ARG_INT, &head_dim, 0, "length of a head, 64 or 128", "N"},
        {"experts", 0, POPT_ARG_INT, &experts, 0, "experts per layer", "N"},
        {"experts-used", 0, POPT_ARG_INT, &used, 0, "experts per token", "N"},
        {"ff", 0, POPT_ARG_INT, &ff, 0, "feed-forward length, of an expert where there are any; a multiple of 32", "N"},
        {"vocab", 0, POPT_ARG_INT, &vocab, 0, "tokens, at least 512", "N"},
        {"ctx", 0, POPT_ARG_INT, &ctx, 0, "context length that the file states", "N"},
        POPT_TABLEEND,
    };
    poptContext con;
    int rc = qm_host_options(
        &con, argc, argv, table,
        "-o FILE [options]\n\n"
        "Writes a random model of a family that runs here: its text is nonsense, its shape and speed are real.\n"
        "Counts left out are the preset's.\n"
        "  example: qmoe-gpu synth -o tiny.gguf --layers 2 --experts 64 --seed 7");
    if (rc >= 0) return rc;
    if ((rc = qm_host_args(&con, NULL, 0, "")) >= 0) return rc;
    poptFreeContext(con);
    if (!out) return qm_host_usage("synth: give the file to write: -o FILE");
    if (seed < 0) return qm_host_usage("synth: --seed %lld: must not be negative", seed);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (*counts[i].v == UNSET) *counts[i].v = 0;
        else if (*counts[i].v < 1)
            return qm_host_usage("synth: --%s %d: must be 1 or more", counts[i].name, *counts[i].v);
    qm_progress m;
    qm_progress_begin(&m, 1);
    qm_synth_opts o = {
        .preset = preset,
        .seed = (uint64_t)seed,
        .types = types,
        .sparse = sparse,
        .tied = tied,
        .bf16_routers = bf16_routers,
        .n_layers = (uint32_t)layers,
        .n_embd = (uint32_t)embd,
        .n_head = (uint32_t)heads,
        .n_kv_head = (uint32_t)kv_heads,
        .head_dim = (uint32_t)head_dim,
        .n_expert = (uint32_t)experts,
        .n_expert_used = (uint32_t)used,
        .n_ff_exp = (uint32_t)ff,
        .n_vocab = (uint32_t)vocab,
        .n_ctx = (uint32_t)ctx,
        .progress = show,
        .user = &m,
    };
    qm_err e;
    FILE *report = qm_host_report_stream(out);
    rc = qm_synth(out, &o, &e);
    qm_progress_end(&m);
    if (rc) return rc == QM_ERR_ARG ? qm_host_usage("synth: %s", e.msg) : qm_host_fail(&e);
    char shown[4096];
    fprintf(report, "%s\n", qm_text_show(shown, sizeof shown, out, strlen(out)));
    return QM_EXIT_OK;
}
