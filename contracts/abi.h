/* abi.h: what host and device agree on. #define only: read by C and, through cpp, by PTX.
 *
 * Every kernel takes ONE by-value argument struct: contracts/ops.def. Here stands what its addresses point to.
 * kernels/ref/args.h holds the C structs, with a static assert for each offset.
 *
 * Notation: [a,b] row-major; R = 32 rows of a tile; K = n_cols. All shapes have K % 32 == 0.
 */
#ifndef QM_ABI_H
#define QM_ABI_H

/* ---- Packed weights ("tile layout") -------------------------------------------------------
 * A weight matrix [n_rows, K] of quantised blocks (QK weights, B bytes each; nb = K / QK blocks a
 * row) is stored on the device in tiles of 32 rows, so that lane r of a warp owns row r and every
 * 16-byte load of a warp is one contiguous 512-byte run. A block is cut into P = B / 16 pieces of
 * 16 bytes and a tail of B % 16 bytes. Tile t, block b starts at ((t * nb) + b) * 32 * B:
 *   piece p of row r at   p * 512 + r * 16
 *   tail    of row r at   P * 512 + r * tail
 * Rows beyond n_rows (in the last tile) are zero. Packing moves bits, within a block: nothing is lost.
 * QK, B, P, tail and the pieces' order: streams.def, for each type.
 *
 * Six bits. The 16 weights of which Q6_K has four words in the file (half h, quarters 0..3 at l .. l + 3) lie in three words A, B, C,
 * word 8 h + l / 4 of the 16 that each has in a row's block. With p = q - 32, in six bits, and bytewise 4 p in a byte of its own:
 *   4 p0 = A & 0xfc    4 p1 = B & 0xfc    4 p2 = C & 0xfc    4 p3 = (A + 4 B + 16 C) << 2 & 0xfc
 * as signed bytes; the sum is one of 32-bit words. Low pairs of bits of A, B and C are what makes it so.
 *
 * Five bits. The 32 weights of Q5_K that are l .. l + 3 of each sub-block, q0 .. q7, lie in five words A .. E, word l / 4 of the 8 that
 * each has in a row's block. Bytewise, sums of 32-bit words:
 *   8 q1 = A & 0xf8    8 q3 = B & 0xf8    8 q5 = C & 0xf8    8 q4 = D & 0xf8    8 q7 = E & 0xf8
 *   q0 = (4 A + B) & 0x1f    4 q2 = (B + 8 C + 16 D) & 0x7c    q6 = (D + 4 E) & 0x1f
 * The low three bits of A .. E are what makes it so.
 *
 * An expert tensor [n_expert, n_rows, K] is n_expert packed matrices, one after the other, each of
 * ceil(n_rows / 32) tiles. */
#define QM_TILE_ROWS 32

/* ---- Canonical sums -------------------------------------------------------------------------
 * In which order the products of a row of weights and a vector are added is a function of the weights' type and of K alone:
 * never of launch geometry, executor, or number of multiprocessors. The row's n = K / step steps (streams.def) are cut into
 * segments of s steps, s = max(segment, smallest power of two >= n, over 2^QM_SEGMENTS_LOG); there are max(1, floor(n / s)),
 * and the last one has what remains. A part is u / s segments, u = max(segment * part, smallest power of two >= n, over
 * 2^QM_PARTS_LOG), the last one as many as remain. So there are at most 2^QM_SEGMENTS_LOG segments and
 * 2^QM_PARTS_LOG parts (kernels/ref/launch.h counts them).
 * A segment adds its blocks from first to last, from zero; a part its segments by rising index, from zero, or from the bias
 * where it is part 0; the result is the parts by rising index. Who computes which of them is free. */
#define QM_SEGMENTS_LOG 6
#define QM_PARTS_LOG 3
/* ---- The deal of a product of one row ---------------------------------------------------------
 * What all warps of the op have in common, said by the host, so that no warp computes it (qm_deal, by qm_deal_of: kernels/ref/launch.h):
 * u32 each, in vectors of 16 bytes as a kernel needs them. A CTA has T tiles, so `rows` = 32 T rows, and S slices: a slice has `run`
 * steps from slice * run of its CTA's part on, and all that is left where that is less than `run_on`. Shared memory: the sums of
 * the CTA's segments, `stride` bytes each, a row's side by side; at x_at the activations. */
#define QM_DEAL_ROWS        0  /* rows of a CTA, a power of two */
#define QM_DEAL_ROWS_LOG    4
#define QM_DEAL_TILES       8  /* of the matrix */
#define QM_DEAL_SLICES     12  /* that have a run in a whole part; others have nothing */
#define QM_DEAL_STEPS      16  /* of a row of weights */
#define QM_DEAL_RUN        20
#define QM_DEAL_RUN_ON     24  /* run and a segment */
#define QM_DEAL_SEGMENT    28  /* steps; all of a row that has fewer. Who has less left than that has nothing */
#define QM_DEAL_X_AT       32  /* 0: no CTA has several segments, and a sum stays where it is made */
#define QM_DEAL_X_RUN      36  /* bytes of a run's activations */
#define QM_DEAL_X_BYTES    40  /* of a CTA's activations, the most */
#define QM_DEAL_SUMS_RUN   44  /* bytes of a run's sums but one */
#define QM_DEAL_TWO        48  /* steps of two segments: who has fewer has one. 2^31 - 1 where x_at is 0 */
#define QM_DEAL_X_SEGMENT  52  /* bytes of a segment's activations */
#define QM_DEAL_PART       56  /* steps of a CTA's part of K; all, where the CTA has all */
#define QM_DEAL_PART_ON    60  /* part and a segment: a part has all that is left where that is less */
#define QM_DEAL_STRIDE     64
#define QM_DEAL_SUMS       68  /* bytes of all segments' sums */
#define QM_DEAL_SUMS_PART  72  /* of those that are added up before they are added to the result */
#define QM_DEAL_SUMS_CTA   76  /* of a CTA's, the most */
#define QM_DEAL_SIZE       80
/* Groups of warps of moe_down, each a CTA to the deal (qm_groups, by qm_groups_of). */
#define QM_GROUPS_THREADS   0  /* of a group, a power of two */
#define QM_GROUPS_MASK      4  /* threads - 1 */
#define QM_GROUPS_N         8  /* groups, a power of two */
#define QM_GROUPS_N_LOG    12
#define QM_GROUPS_LOG      16  /* of threads */
#define QM_GROUPS_BYTES    20  /* of shared memory, a group's */
#define QM_GROUPS_AT       24  /* where the first one's begins */
#define QM_GROUPS_LAST     28  /* the last round; a round is an expert for each group */
#define QM_GROUPS_SIZE     32

/* Of one row, a warp whose run of steps is at most so many chunks (streams.def) asks for all of it at once, on sm_90 and later
 * (kernels/ptx/stream.inc). */
#define QM_RUN_CHUNKS 4
/* L2: what the cache does with the weights that an op of one row reads (KEEPS in ops.def). LAST: they are given up last, and so found
 * there in the next step; FIRST: first, since a step reads them once and they are more than it holds; NORMAL: as everything else. A
 * hint, which changes no result. Which op has which: runtime/plan/keep.c. */
#define QM_L2_NORMAL 0
#define QM_L2_FIRST 1
#define QM_L2_LAST 2
/* Shared memory of a warp of a product of many rows, for what its type decodes (kernels/ptx/rows_stream.inc). */
#define QM_ROWS_WARP_BYTES 1152

/* ---- Quantised activations ("q16a") --------------------------------------------------------
 * A vector of K floats in groups of 32, 16 bits a value, as two planes of bytes for dp4a:
 *   K bytes s8 hi, K bytes s8 lo, K/32 words f32 d.   x[i] ~ d * (256 * hi[i] + lo[i])
 * d = amax / 32512, q = rint(x / d) (IEEE division, round half to even) clamped to +-32512,
 * lo = the low byte of q as s8, hi = (q - lo) / 256, in +-127; d == 0 -> q = 0. NaN or inf in a group makes
 * its d NaN or inf and its q 0, so that nothing is hidden. 8 bits would cost fewer instructions, but one
 * rounding that falls the other way then changes every later layer by 1%: docs/activations.md. */
#define QM_Q16A_GROUP 32
#define QM_Q16A_DATA(k) (2 * (k) + (k) / 8)
#define QM_Q16A_BYTES(k) ((QM_Q16A_DATA(k) + 15) / 16 * 16) /* in an array: each begins at 16 bytes */
#define QM_Q16A_MAX 32512

/* ---- KV cache pages -----------------------------------------------------------------------
 * A page holds 32 tokens of one layer and one kv head, in a type of contracts/kv.def; how they lie in it is the type's own
 * affair: kernels/ptx/kv_<type>.inc and kernels/ref/kv.c.
 * A layer's pool: [n_pages][n_kv][page]. table[i] = page index that holds tokens 32i..32i+31. */
#define QM_PAGE_TOKENS 32

/* ---- RoPE table ---------------------------------------------------------------------------
 * f32 pairs {cos, sin}: fine [256][head_dim/2] for positions 0..255, then coarse
 * [ceil(n_ctx/256)][head_dim/2] for positions 256*j. The angle of position p is the sum of the two:
 * cos(a+b) = cos a cos b - sin a sin b. Exact to f32 rounding at any position, and small. */
#define QM_ROPE_FINE 256
#define QM_ROPE_ROWS(n_ctx) (QM_ROPE_FINE + ((n_ctx) + QM_ROPE_FINE - 1) / QM_ROPE_FINE)

/* ---- Rows of a step (device memory, one record a row) ----------------------------------------
 * What a row is: a position of a sequence. The sequences' blocks (state, tokens, block table, kept logits) are equal in size
 * and lie one after the other; a kernel gets the addresses of sequence 0's parts and adds SEQ_OFF. So a captured graph
 * knows no sequence: the host writes a record where a row gets another sequence or jumps; else the row moves on by itself.
 * A graph is of a number of rows; how many of them there are in a step, the header says: the others are inert. Rows of one
 * sequence are neighbours, by rising position. The host also deals rows to what computes them:
 *   singles  rows whose sequence has no other in the step: attn
 *   runs     {first row, how many <= QM_RUN_ROWS} of the rows of a sequence that has several: attn_prefill
 *   outs     rows whose logits are wanted: the model's head; of these the first N_DRAWS also choose their next token
 * Each is a list of numbers of rows, whose length the header has; entries after the last are 0. */
#define QM_STEP_N_ROWS    0   /* u32 */
#define QM_STEP_N_SINGLES 4
#define QM_STEP_N_RUNS    8
#define QM_STEP_N_OUTS   12
#define QM_STEP_N_DRAWS  16
#define QM_STEP_ROWS_MAX 512
#define QM_RUN_ROWS      8
#define QM_STEP_AT_ROWS  32   /* the records, QM_STEP_ROWS_MAX of each */
#define QM_STEP_AT_SINGLES 8224  /* u32 */
#define QM_STEP_AT_RUNS 10272 /* u32 x 2 */
#define QM_STEP_AT_OUTS 14368 /* u32 */
#define QM_STEP_SIZE    16416
#define QM_ROW_POS       0   /* u32: the position; embed adds 1 at the step's begin, so the host writes position - 1 */
#define QM_ROW_SEQ       4   /* u32: the sequence's number */
#define QM_ROW_SEQ_OFF   8   /* u64: bytes from sequence 0's block to this sequence's */
#define QM_ROW_SIZE     16

/* ---- The choice of experts in an op's shared memory (kernels/ptx/topk.inc) --------------------- */
#define QM_CHOICE_ID    128  /* u32: the CTA's; before it u32 [32]: the order keys of the chosen logits */
#define QM_CHOICE_KEYS  144  /* u32 [n_expert, and up to a multiple of 32]: order keys of all logits; then the candidates */
/* What all warps of the op have in common (qm_choice_place): u32, of one vector. */
#define QM_CHOICE_OF_AT      0 /* where it begins: after what the product needs */
#define QM_CHOICE_OF_PADDED  4 /* n_expert, up to a multiple of 32 */
#define QM_CHOICE_OF_BEST    8 /* from its beginning: where the candidates begin */
#define QM_CHOICE_OF_END    12 /* and end, at a multiple of 32 of them */
#define QM_CHOICE_OF_SIZE   16

/* ---- Groups of slots (op moe_sort) -----------------------------------------------------------
 * Of the slots {row, pick}, by rising expert: up to a width of neighbours that share one. */
#define QM_GROUP_EXPERT  0    /* u32, as the rest */
#define QM_GROUP_FIRST   4    /* its first slot's place in the order */
#define QM_GROUP_N       8    /* slots, 1 .. width */
#define QM_GROUP_SIZE   16

/* ---- Sequence state (device memory, one per sequence) -------------------------------------- */
#define QM_STATE_FLAGS     4   /* u32: QM_FLAG_* raised by kernels, cleared by the host; before it 4 bytes of nothing */
/* How the next token is chosen ("Sampling", below). All zero is greedy, with the logits as they are. */
#define QM_STATE_MODE        8   /* u32: 0 greedy, 1 a draw */
#define QM_STATE_EDITS      12   /* u32: QM_EDIT_*; 0: the logits as they are */
#define QM_STATE_SEED       16   /* u64 */
#define QM_STATE_TOP_P      24   /* f64: >= 1: off */
#define QM_STATE_MIN_MASS   32   /* u64: ceil(min_p * QM_SAMPLE_ONE); 0: off */
#define QM_STATE_CUT_MIN_MASS 40 /* u64: the same for what top_p adds up; 0 where min_p comes after it */
#define QM_STATE_TOP_K      48   /* u32: 0 or >= n: off */
#define QM_STATE_K_LATE     52   /* u32: 1: top_k comes after top_p, and top_p is on */
#define QM_STATE_TEMPERATURE 56  /* f32 > 0: of the draw; none is read when greedy */
#define QM_STATE_CUT_TEMPERATURE 60 /* f32 > 0: of top_p; with top_p off this and CUT_MIN_MASS are the draw's */
#define QM_STATE_MIN_TEMPERATURE 64 /* f32 > 0: of min_p */
#define QM_STATE_PENALTY    68   /* f32: 1: off */
#define QM_STATE_PRESENCE   72   /* f32: 0: off */
#define QM_STATE_FREQUENCY  76   /* f32: 0: off */
#define QM_STATE_LAST_N     80   /* u32: tokens in the penalties' window, at most QM_SAMPLE_WINDOW; 0: off */
#define QM_STATE_N_BIAS     84   /* u32 <= QM_SAMPLE_BIASES */
#define QM_STATE_SEQ        88   /* u32: the sequence's id, for the draw's counter */
#define QM_STATE_LOGPROBS   92   /* u32: 1: the result says what logprobs are made of */
#define QM_STATE_SIZE     96
#define QM_STATE_BIAS     QM_STATE_SIZE /* {u32 id, f32 bias} [QM_SAMPLE_BIASES], after the state; no id twice */
#define QM_STATE_BYTES    (QM_STATE_SIZE + 8 * QM_SAMPLE_BIASES)
#define QM_EDIT_LOGITS 1   /* biases, penalties; without it LAST_N and N_BIAS are 0 */
#define QM_EDIT_MASK   2   /* the highest: the sequence's mask says which tokens may come; one of them at least */
#define QM_FLAG_NONFINITE  1   /* a NaN or +inf among the logits */
#define QM_FLAG_BAD_TOKEN  2   /* a token id outside the embedding: row 0 was used */

/* ---- Partial sums ---------------------------------------------------------------------------
 * Where an op leaves a vector as several parts whose sum is meant, its consumer adds them in f32 by rising index,
 * starting from part 0, and only then anything else (rmsnorm: the residual stream). So an op that leaves n parts and one
 * that leaves their sum give the same bits. */

/* ---- Spans of attention ----------------------------------------------------------------------
 * A position's keys are cut at multiples of QM_SPAN. What a span gives is a function of q, its keys and values, and the
 * position alone: within it pages are folded by rising position, spans likewise (kernels/ptx/fold.inc). */
#define QM_SPAN_LOG        8
#define QM_SPAN          256   /* positions */
#define QM_SPAN_PAGES_LOG  3
#define QM_SPAN_PAGES      8

/* ---- Sampling --------------------------------------------------------------------------------
 * tokens[pos + 1] from the logits of position pos. Every step is exact: integers, or single IEEE operations
 * on f32 and f64, so that hardware, software device and C agree to the bit.
 *  1. l = the logit, plus its id's bias; then, if the id is c > 0 times among tokens[max(0, pos + 1 - last_n) .. pos]:
 *     l / penalty where l > 0, else l * penalty, once however often it is there; less (c * frequency + presence).
 *     With a mask, u32 [QM_MASK_WORDS]: a NaN where bit id % 32 of word id / 32 is 0. So no such token comes while another one
 *     may: it is after all of them, and has no mass. Who sets a mask of k tokens sets top_k to k at most, and to k where it
 *     was off and the candidates hold k: the same tokens, without looking for masses where there are none.
 *  2. Tokens are in order of u64 {order key of l, ~id}, falling: larger first, ties by lowest id, a NaN below
 *     -inf, -0 = 0. Greedy: the first of them. Else the mass of a token at a temperature t is
 *     floor(e^((l - l_first) / t) * 2^44), that of the first and of its equals 2^44. e^x by fma alone
 *     (kernels/ref/sample.c), so that a sum does not depend on its order nor on who computes it.
 *  3. top_k: the first k.
 *  4. top_p: of {what top_k and min_p left, as far as they come before it} the shortest run whose sum of masses at the
 *     cut temperature is >= max(1, trunc(p * total)): the token that crosses stays.
 *  5. min_p: of these, masses at the min temperature >= min_mass; the others get no mass.
 *  6. Where they come after top_p, top_k and min_p cut what it left. top_k and min_p commute.
 *  7. x = 64 bits of Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC 2011), key = seed, counter = {pos + 1, sequence
 *     id, 0, 0}: words 0 and 1, low word first. r = floor(x * total of what is kept / 2^64), masses at the draw's
 *     temperature; the token at which the running sum goes over r.
 * A cut's temperature is the draw's if the chain divides by the temperature before it, else 1. So a state says any
 * order of temperature, top_k, top_p and min_p.
 * n < 2^20, so that no sum overflows. */
#define QM_SAMPLE_ONE     0x100000000000  /* 2^44 */
#define QM_SAMPLE_MAX_N   0x100000
#define QM_SAMPLE_CAP     4096    /* candidates that are sorted in shared memory */
#define QM_SAMPLE_BUCKETS 4096    /* of the histogram: the upper 12 bits of the order key */

#define QM_SAMPLE_BIASES  1024
#define QM_SAMPLE_WINDOW  0x1fffff /* a token's count and its bias' number + 1 share a word: 21 bits and 11 */
#define QM_SAMPLE_COUNT_BITS 21

#define QM_MASK_WORDS(n) (((n) + 31) / 32) /* u32, a bit for each token */

#define QM_SAMPLE_RANGE   4096    /* ids of a CTA of sample_scan, at most */

/* What a step tells the host, in pinned host memory that the device maps: the step of position p writes slot
 * p % QM_RESULT_RING of its sequence's ring, all of it at once; the rings of the sequences lie one after the other. It is
 * there when the step's work is done. */
#define QM_RESULT_TOKEN  0    /* u32: tokens[p + 1] */
#define QM_RESULT_FLAGS  4    /* u32: QM_FLAG_* raised so far */
#define QM_RESULT_POS    8    /* u32: p; after it 4 bytes of nothing */
/* Where the state's LOGPROBS is 1, of the logits as the model gave them: a token's logprob is its logit, less FIRST, less the
 * logarithm of SUM / 2^44. Else not written. */
#define QM_RESULT_SUM   16    /* u64: sum over all tokens of floor(e^(l - FIRST) * 2^44), as masses are ("Sampling", 2) */
#define QM_RESULT_FIRST 24    /* f32: the largest logit */
#define QM_RESULT_CHOSEN 28   /* f32: that of the token */
#define QM_RESULT_TOP   32    /* {u32 id, f32 logit} of the first min(n, QM_RESULT_N_TOP) tokens in order */
#define QM_RESULT_N_TOP 20
#define QM_RESULT_SIZE 192
#define QM_RESULT_RING   4

/* What the two share; zero before the first launch. */
#define QM_WORK_SCANNED    0   /* u32: CTAs that are through; returns to zero by itself, as does the next */
#define QM_WORK_DRAWN      4
#define QM_WORK_N_CAND     8   /* u32 candidates; zero between launches, as are the sums */
#define QM_WORK_FLOOR     12   /* u32: the lowest key of a candidate */
#define QM_WORK_FIRST     16   /* u64 {key, ~id} of the first token */
#define QM_WORK_TOTAL     24   /* u64: sum of all masses that top_p, or without it the draw, adds up; where not top_k
                                  alone decides what these are */
#define QM_WORK_KEPT      32   /* u64: sum of the masses that the draw was from. For tests. */
#define QM_WORK_LAST      40   /* u64 {key, ~id} of the last token after top_k and top_p; 0: both are off. For tests. */
#define QM_WORK_N_SLOW    48   /* u32: draws so far that the candidates could not decide */
#define QM_WORK_SIZE      56

/* ---- walk: runs the ops of n records, one after the other, in one resident kernel: every CTA of the grid is on the
 * device at once (a cooperative launch), block QM_WALK_BLOCK. An op's CTAs of `warps` warps are dealt to the grid's
 * CTAs, `subs` of them at a time in each, `stride` bytes of dynamic shared memory apart: its CTA t to part t / grid (mod subs)
 * of the grid's CTA (first + t) mod grid.
 * Each op has a counter, of the CTAs of the grid that had a share in it and are through. Those which have one in an op wait, in
 * the op's body at its QM_WAIT, for up to QM_WALK_WAITS counters: each has then reached its goal, min(the op's CTAs, grid).
 * Who has no share neither waits nor arrives. An op waits for earlier ones only. While a CTA waits it asks for
 * prefetch_bytes at prefetch, into the L2: weights of this op or of one to come. The last CTA to end clears the counters. */
#define QM_WALK_BLOCK      512
#define QM_WALK_REC_CASE     0   /* u32: number in contracts/kernels.def */
#define QM_WALK_REC_WARPS    4
#define QM_WALK_REC_SUBS     8   /* subs * warps <= QM_WALK_BLOCK / 32; <= QM_WALK_SUBS */
#define QM_WALK_REC_STRIDE  12   /* a multiple of 16 */
#define QM_WALK_REC_GRID    16   /* u32 x, y, z of the op's CTAs */
#define QM_WALK_REC_FIRST   28   /* u32 < grid: the grid's CTA that has the op's first */
#define QM_WALK_REC_WAITS   32   /* {u32 op, u32 goal} [QM_WALK_WAITS]; goal 0: none */
#define QM_WALK_REC_PREFETCH 64  /* address */
#define QM_WALK_REC_PREFETCH_BYTES 72 /* u64; 0: nothing */
#define QM_WALK_REC_ARRIVES 80   /* u32: 0: no op waits for this one; after it 4 bytes of nothing */
#define QM_WALK_REC_RING    88   /* {u32 steps, u32 at}: of its weights' steps (contracts/streams.def) so many, behind its first chunk,
                                    a warp copies to shared memory before it waits; at: where in its CTA's they begin, warp after warp.
                                    steps: a multiple of a chunk; 0: none. Of matvec alone */
#define QM_WALK_REC_ARGS    96   /* the op's argument struct */
#define QM_WALK_REC_SIZE   352
#define QM_WALK_ARGS_MAX   256 /* bytes of an op's arguments, at most */
#define QM_WALK_SUBS        15   /* barriers of a CTA but the first */
#define QM_WALK_WAITS        4
/* The counters: u32 [n + 1], this many bytes apart, so that those who arrive at one and those who look at another do not meet
 * in one sector; the last is of the CTAs that are at the end. All zero before a launch, and after it. */
#define QM_WALK_COUNTER     32
/* In the kernel's own shared memory: records of the op at hand and the next three; and what each warp does. */
#define QM_WALK_RING         4
#define QM_WALK_RECS_BYTES 1408  /* QM_WALK_RING QM_WALK_REC_SIZE: PTX takes no expression here */
#define QM_WALK_WARP_CTA     0   /* u32: the op's CTA, counted through its grid */
#define QM_WALK_WARP_OP      4   /* the op, counted from 0 */
#define QM_WALK_WARP_WAITED  8   /* 1: it has passed the op's wait */
#define QM_WALK_WARP_TID    12   /* of the warp's first lane, in the op's CTA */
#define QM_WALK_WARP_X      16   /* x, y, z of the op's CTA */
#define QM_WALK_WARP_SMEM   28   /* its shared memory */
#define QM_WALK_WARP_BAR    32   /* u32: the part's barrier, and the threads that meet there */
#define QM_WALK_WARP_SIZE   48
#define QM_WALK_WARPS_BYTES 768  /* QM_WALK_BLOCK / 32 warps */

/* ---- stats: what a vector looks like, and a copy of it. Not an op of a model: it looks at what ops have left
 * (runtime/observe/trace.h). One CTA a job; the vector of a job is v[i] = add[i] + (sum_s x[s * stride + i]), added
 * in f32 as rmsnorm does it. mean, std_dev, l2, min and max are over the finite values, the sums
 * below them in f64; std_dev is that of a population (divided by the number of finite values). Of no finite value:
 * mean NaN, std_dev 0, l2 0, min +inf, max -inf. */
#define QM_STATS_JOB_X        0   /* f32 [n_parts, stride] */
#define QM_STATS_JOB_ADD      8   /* f32 [n] or 0 */
#define QM_STATS_JOB_COPY    16   /* f32 [n] or 0: v itself */
#define QM_STATS_JOB_N       24
#define QM_STATS_JOB_N_PARTS 28   /* >= 1 */
#define QM_STATS_JOB_STRIDE  32
#define QM_STATS_JOB_SIZE    40

#define QM_STATS_MEAN    0   /* f64 */
#define QM_STATS_STD_DEV 8   /* f64 */
#define QM_STATS_L2     16   /* f64 */
#define QM_STATS_MIN    24   /* f32 */
#define QM_STATS_MAX    28   /* f32 */
#define QM_STATS_NANS   32   /* u32, as are the rest */
#define QM_STATS_INFS   36
#define QM_STATS_ZEROS  40   /* +0 and -0 */
#define QM_STATS_COUNT  44   /* n */
#define QM_STATS_RECORD 48   /* bytes */

#endif
