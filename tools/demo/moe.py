"""The demo model in PyTorch: Qwen3-MoE (RMSNorm, GQA with q/k norm, RoPE, top-k softmax router) over a
flat batch: documents lie one after another in a row of N tokens, so that nothing is spent on padding but
inside attention. Master weights are f32, matrix products bf16, the residual stream f32.

Parameter names and layouts are Hugging Face's but for the experts, which are stacked [n_expert, ...]."""
import math
from dataclasses import dataclass, asdict

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Config:
    vocab_size: int = 4096
    hidden_size: int = 256
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 128
    num_experts: int = 24
    num_experts_per_tok: int = 8
    moe_intermediate_size: int = 256
    max_position_embeddings: int = 1024
    rope_theta: float = 1e6
    rms_norm_eps: float = 1e-6

    def hf(self):
        """config.json of Hugging Face's Qwen3MoeForCausalLM."""
        return asdict(self) | {
            "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_act": "silu",
            "norm_topk_prob": True, "tie_word_embeddings": False, "attention_bias": False,
            "decoder_sparse_step": 1, "mlp_only_layers": [], "intermediate_size": self.moe_intermediate_size,
            "sliding_window": None, "use_sliding_window": False, "torch_dtype": "float32"}


class Rows(torch.autograd.Function):
    """x[idx] whose gradient is a gather too: inverse[i] lists the places (all of them, the same number for
    every row; rows past the end count as zero) that row i of x went to."""

    @staticmethod
    def forward(ctx, x, idx, inverse):
        ctx.save_for_backward(inverse)
        return x.index_select(0, idx)

    @staticmethod
    def backward(ctx, g):
        (inverse,) = ctx.saved_tensors
        n, k = inverse.shape
        g = g.index_select(0, inverse.reshape(-1))
        return (g if k == 1 else g.view(n, k, -1).float().sum(1).to(g.dtype)), None, None


class Experts(torch.autograd.Function):
    """SwiGLU of each expert over its own run of rows: x [M, H] sorted by expert, ends[e] the end of e's run,
    gate_up [E, 2F, H], down [E, H, F] -> [M, H]. Expert by expert, so that what is between the products stays
    in the cache."""

    @staticmethod
    def forward(ctx, x, gate_up, down, ends):
        gu = x.new_empty(x.shape[0], gate_up.shape[1])
        y = torch.empty_like(x)
        a = 0
        for e, b in enumerate(ends):
            g, u = torch.mm(x[a:b], gate_up[e].t(), out=gu[a:b]).chunk(2, 1)
            torch.mm(F.silu(g).mul_(u), down[e].t(), out=y[a:b])
            a = b
        ctx.save_for_backward(x, gate_up, down, gu)
        ctx.ends = ends
        return y

    @staticmethod
    def backward(ctx, dy):
        x, gate_up, down, gu = ctx.saved_tensors
        dgate_up, ddown, dx = torch.empty_like(gate_up), torch.empty_like(down), torch.empty_like(x)
        dy = dy.contiguous()
        a = 0
        for e, b in enumerate(ctx.ends):
            g, u = gu[a:b].chunk(2, 1)
            s = F.silu(g)
            torch.mm(dy[a:b].t(), s * u, out=ddown[e])
            dh = dy[a:b] @ down[e]
            dgu = torch.cat((torch.ops.aten.silu_backward(dh * u, g), dh * s), 1)
            torch.mm(dgu.t(), x[a:b], out=dgate_up[e])
            torch.mm(dgu, gate_up[e], out=dx[a:b])
            a = b
        return dx, dgate_up, ddown, None


class Batch:
    """Documents as one row of tokens. ids: a list of 1-D LongTensors. For attention, documents of similar
    length share a padded rectangle; `groups` holds for each its gather index and the way back."""

    def __init__(self, ids, n_groups=6):
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        self.ids = torch.cat([ids[i] for i in order])
        self.order = order
        lens = [len(ids[i]) for i in order]
        self.pos = torch.cat([torch.arange(n) for n in lens])
        n = len(self.ids)
        self.groups = []
        cut = n / n_groups
        doc, at = 0, 0
        while doc < len(lens):
            first, start = doc, at
            while doc < len(lens) and (doc == first or at - start < cut):
                at += lens[doc]
                doc += 1
            width = lens[doc - 1]
            pad = torch.full((doc - first, width), at - start, dtype=torch.long)
            place = start
            for row, j in enumerate(range(first, doc)):
                pad[row, :lens[j]] = torch.arange(place - start, place - start + lens[j])
                place += lens[j]
            back = torch.nonzero(pad.reshape(-1) < at - start).squeeze(1)
            self.groups.append((start, at, pad, back))


def norm(x, w, eps):
    return F.rms_norm(x, (x.shape[-1],), w, eps)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        q, kv = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
        self.qkv = nn.Parameter(torch.empty(q + 2 * kv, c.hidden_size))
        self.o_proj = nn.Parameter(torch.empty(c.hidden_size, q))
        self.q_norm = nn.Parameter(torch.ones(c.head_dim))
        self.k_norm = nn.Parameter(torch.ones(c.head_dim))

    def forward(self, x, batch, rope):
        c, n = self.c, x.shape[0]
        h, kv, d = c.num_attention_heads, c.num_key_value_heads, c.head_dim
        qkv = (x @ self.qkv.to(x.dtype).t()).view(n, h + 2 * kv, d)
        q = rotate(norm(qkv[:, :h].float(), self.q_norm, c.rms_norm_eps), rope).to(x.dtype)
        k = rotate(norm(qkv[:, h:h + kv].float(), self.k_norm, c.rms_norm_eps), rope).to(x.dtype)
        qkv = torch.cat((q, k, qkv[:, h + kv:]), 1).reshape(n, -1)
        out = []
        for a, b, pad, back in batch.groups:
            docs, width = pad.shape
            rows = torch.cat((qkv[a:b], qkv.new_zeros(1, qkv.shape[1])))
            # the zero row's gradient is nobody's: any place will do
            p = Rows.apply(rows, pad.reshape(-1), torch.cat((back, back[:1])).unsqueeze(1))
            p = p.view(docs, width, h + 2 * kv, d).transpose(1, 2)
            y = F.scaled_dot_product_attention(p[:, :h], p[:, h:h + kv], p[:, h + kv:], is_causal=True,
                                               enable_gqa=True)
            y = y.transpose(1, 2).reshape(docs * width, h * d)
            out.append(y if len(back) == docs * width else y.index_select(0, back))
        return torch.cat(out) @ self.o_proj.to(x.dtype).t()


def rotate(x, rope):
    """RoPE on [N, heads, d], the two halves of a head paired."""
    cos, sin = rope
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Moe(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.gate = nn.Parameter(torch.empty(c.num_experts, c.hidden_size))
        self.gate_up = nn.Parameter(torch.empty(c.num_experts, 2 * c.moe_intermediate_size, c.hidden_size))
        self.down = nn.Parameter(torch.empty(c.num_experts, c.hidden_size, c.moe_intermediate_size))

    def forward(self, x):
        """x f32 [N, H] (normed) -> [N, H] f32, and the load-balancing loss of Switch Transformers."""
        c, n = self.c, x.shape[0]
        probs = torch.softmax(x @ self.gate.t(), -1)
        w, ids = probs.topk(c.num_experts_per_tok, -1)
        w = w / w.sum(-1, keepdim=True)
        flat = ids.reshape(-1)
        slot = flat.argsort(stable=True)          # sorted place -> (token, rank)
        place = torch.empty_like(slot)
        place[slot] = torch.arange(len(slot))     # (token, rank) -> sorted place
        counts = torch.bincount(flat, minlength=c.num_experts)
        xs = Rows.apply(x.to(torch.bfloat16), slot // c.num_experts_per_tok, place.view(n, -1))
        ys = Experts.apply(xs, self.gate_up.to(xs.dtype), self.down.to(xs.dtype), counts.cumsum(0).tolist())
        y = Rows.apply(ys, place, slot.unsqueeze(1)).view(n, c.num_experts_per_tok, -1)
        y = (w.to(y.dtype).unsqueeze(1) @ y).squeeze(1).float()
        balance = c.num_experts * (counts.float() / len(flat) * probs.mean(0)).sum()
        return y, balance


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.eps = c.rms_norm_eps
        self.input_layernorm = nn.Parameter(torch.ones(c.hidden_size))
        self.post_attention_layernorm = nn.Parameter(torch.ones(c.hidden_size))
        self.self_attn = Attention(c)
        self.mlp = Moe(c)

    def forward(self, x, batch, rope):
        x = x + self.self_attn(norm(x, self.input_layernorm, self.eps).to(torch.bfloat16), batch, rope).float()
        y, balance = self.mlp(norm(x, self.post_attention_layernorm, self.eps))
        return x + y, balance


class Model(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.embed_tokens = nn.Parameter(torch.empty(c.vocab_size, c.hidden_size))
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.num_hidden_layers))
        self.norm = nn.Parameter(torch.ones(c.hidden_size))
        self.lm_head = nn.Parameter(torch.empty(c.vocab_size, c.hidden_size))
        for name, p in self.named_parameters():
            if p.dim() < 2:
                continue
            zero = name.endswith(("o_proj", "down"))
            std = 0.1 if name == "embed_tokens" else 0 if zero else 0.5 / math.sqrt(p.shape[-1])
            nn.init.normal_(p, std=std)

    def rope(self, pos):
        half = self.c.head_dim // 2
        f = self.c.rope_theta ** (-torch.arange(half, dtype=torch.float64) / half)
        a = pos.double().unsqueeze(1) * f
        return a.cos().float().unsqueeze(1), a.sin().float().unsqueeze(1)

    def forward(self, batch, want):
        """Logits f32 [len(want), vocab] at the places `want` of the batch's row, and the balance loss."""
        x = self.embed_tokens[batch.ids]
        rope = self.rope(batch.pos)
        balance = 0
        for layer in self.layers:
            x, b = layer(x, batch, rope)
            balance = balance + b
        x = norm(x.index_select(0, want), self.norm, self.c.rms_norm_eps).to(torch.bfloat16)
        return (x @ self.lm_head.to(x.dtype).t()).float(), balance / len(self.layers)

    def hf_state(self):
        """Tensors under Hugging Face's names."""
        c, out = self.c, {}
        q, kv = c.num_attention_heads * c.head_dim, c.num_key_value_heads * c.head_dim
        out["model.embed_tokens.weight"] = self.embed_tokens
        out["model.norm.weight"] = self.norm
        out["lm_head.weight"] = self.lm_head
        for i, l in enumerate(self.layers):
            p, a, m = f"model.layers.{i}.", l.self_attn, l.mlp
            out[p + "input_layernorm.weight"] = l.input_layernorm
            out[p + "post_attention_layernorm.weight"] = l.post_attention_layernorm
            for name, w in zip("qkv", a.qkv.split((q, kv, kv))):
                out[p + f"self_attn.{name}_proj.weight"] = w
            out[p + "self_attn.o_proj.weight"] = a.o_proj
            out[p + "self_attn.q_norm.weight"], out[p + "self_attn.k_norm.weight"] = a.q_norm, a.k_norm
            out[p + "mlp.gate.weight"] = m.gate
            for e in range(c.num_experts):
                gate, up = m.gate_up[e].chunk(2)
                x = p + f"mlp.experts.{e}."
                out[x + "gate_proj.weight"], out[x + "up_proj.weight"] = gate, up
                out[x + "down_proj.weight"] = m.down[e]
        return {k: v.detach().float().contiguous().clone() for k, v in out.items()}
