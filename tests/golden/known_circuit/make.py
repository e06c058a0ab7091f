#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the known-circuit model (a GGUF whose weights are set by formula) and prompts for it.

Owns: the residual channels, the plan of heads, the weights, the vocabulary, the prompts.
Why: a trace of a trained model can only be compared with another estimate. Here every route from
needle to answer is designed, so selection, routes and proofs are judged against the truth, at any
length and without a download. README.md beside this file is the manual; check.py is the judge and
shares no code with this file.

    make.py model  --kind one|three --hardness easy|hard --seed S --out model.gguf
    make.py prompt --model model.gguf --seed P --n-tok N --out prompt.ids
"""
import argparse
import gzip
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

# ---- shape of the model ------------------------------------------------------------------------

N_EMBD, N_HEAD, N_KV_HEAD, D_HEAD, N_FF = 320, 6, 3, 64, 32
GROUP = N_HEAD // N_KV_HEAD               # query heads that share one key/value head
N_CTX = 2_097_152
ROPE_BASE = 1e24                          # pair i turns by 10^(-0.75 i) radians a token
NORM_EPS = 1e-6
KINDS = {"one": (4, (2,)), "three": (6, (1, 2, 4))}     # kind -> n_layer, layers of the hops

# ---- head dimensions ---------------------------------------------------------------------------

CLOCK_PAIRS = 9                           # dims 0..17 turn visibly: a position clock
D_CODE = 42                               # dims 20..61 turn < 1e-7 a token: they carry content
CODE = slice(20, 20 + D_CODE)
SINK_DIM = 62                             # reads the <s> token

# ---- residual channels -------------------------------------------------------------------------

CONST, IS_BOS, IS_QUERY, AFTER_QUERY = 0, 1, 2, 3
ID, PREV, PAYLOAD, SLOT1, SLOT2, OUT, JUNK = (
    slice(8 + D_CODE * i, 8 + D_CODE * (i + 1)) for i in range(7))
BETA = 4.0                                # value of the constant channel
BOS_FLAG = 2 ** 0.5                       # <s> has neither identity nor payload: same norm
NORM2_FIRST = BETA * BETA + 2             # squared norm of every token before layer 0, exactly
NORM2_LATER = BETA * BETA + 3             # and after it, up to junk

# ---- attention scores (after the division by sqrt(D_HEAD)) -------------------------------------

CLOCK_SCORE = 50.0                        # previous-token head, per clock pair
MATCH_SCORE = 90.0                        # retrieval and decoy heads, at cosine 1
SINK_OFF, SINK_ON = 1.5, 0.9              # their sink: 135 anywhere, 54 right after QUERY
LOCAL_SCORE = (0, 2, 12, 30, 40, 40, 40, 40, 40)         # local heads, per clock pair
SOFT_SCORE, DIFFUSE_SCORE, SINK_SCORE = 10.0, 2.0, 40.0
AMP = float(np.sqrt(MATCH_SCORE * np.sqrt(D_HEAD)))       # code amplitude in q and in k
CLOCK_AMP = float(np.sqrt(CLOCK_SCORE * np.sqrt(D_HEAD)))
JUNK_GAIN = 0.3
LOGIT_VALUE, LOGIT_DEFAULT = 30.0, 15.0

# ---- vocabulary --------------------------------------------------------------------------------

N_KEY, N_VALUE, N_FILLER = 64, 32, 512
UNK, BOS, EOS = 0, 1, 2
BYTE0 = 3                                 # 256 byte tokens: any text can be tokenized
QUERY, DEFAULT = BYTE0 + 256, BYTE0 + 257
KEY0 = DEFAULT + 1                        # k0..k63: names
REF0 = KEY0 + N_KEY                       # r0..r63: "see k0".."see k63"
VALUE0 = REF0 + N_KEY                     # v0..v31: answers
FILLER0 = VALUE0 + N_VALUE                # f0..f511
N_VOCAB = FILLER0 + N_FILLER

COS_NAMES = 0.35                          # largest cosine between two of k, r, v, QUERY
COS_FILLER = {"easy": 0.2, "hard": 0.5}   # largest cosine of a filler to any of those
EASY_SPREAD = 0.35                        # easy fillers: one direction plus this much noise


@dataclass
class Head:
    """One query head: its place, what it does, and for retrieval and decoy heads which hop."""
    layer: int
    head: int
    kv_head: int
    keys: str                             # what the group's keys hold: clock, prev or own
    role: str
    hop: int = 0                          # whose needle it reads (retrieval, decoy), from 1


# ---- the plan of heads -------------------------------------------------------------------------

def layer_groups(layer, hops):
    """The three key/value groups of a layer as (what the keys hold, roles of its two heads)."""
    if layer == 0:
        return [("clock", ["previous", "local"]), ("own", ["soft", "diffuse"]),
                ("own", ["sink", "diffuse"])]
    partner = "retrieval" if layer in hops else "sink"
    return [("clock", ["local", "sink"]), ("prev", [partner, "decoy"]),
            ("own", ["soft", "diffuse"])]


def plan_heads(kind, seed):
    """All heads, layer by layer in head order. The seed shuffles places inside each layer."""
    n_layer, hops = KINDS[kind]
    rng = np.random.default_rng([seed, 1])
    heads = []
    for layer in range(n_layer):
        groups = layer_groups(layer, hops)
        for kv, g in enumerate(rng.permutation(N_KV_HEAD)):
            keys, roles = groups[g]
            for j, r in enumerate(rng.permutation(GROUP)):
                head = Head(layer, kv * GROUP + j, kv, keys, roles[r])
                if head.role in ("retrieval", "decoy"):
                    head.hop = hops.index(layer) + 1 if layer in hops else 1
                heads.append(head)
    return heads


# ---- codes -------------------------------------------------------------------------------------

def unit(x):
    """x [..., D] scaled to length 1 over the last index."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def draw_apart(rng, n, limit, others, make):
    """n unit vectors [n, D_CODE] from make(rng); cosine to others [m, D_CODE] at most limit."""
    out = []
    while len(out) < n:
        x = make(rng)
        if others.size == 0 or np.max(others @ x) <= limit:
            out.append(x)
    return np.array(out)


def draw_names(rng, n, avoid=None):
    """n unit vectors [n, D_CODE], no two with a cosine above COS_NAMES, orthogonal to avoid."""
    avoid = np.zeros(D_CODE) if avoid is None else avoid

    def draw(r):
        x = r.standard_normal(D_CODE)
        return unit(x - (x @ avoid) * avoid)

    out = np.zeros((0, D_CODE))
    for _ in range(n):
        out = np.concatenate([out, draw_apart(rng, 1, COS_NAMES, out, draw)])
    return out


def identity_codes(rng, hardness):
    """Identity code of every token [N_VOCAB, D_CODE].

    <s> has none, so that its key is the sink's alone; bytes and controls are coded like fillers.
    """
    names = [QUERY] + list(range(KEY0, FILLER0))
    fillers = [t for t in range(N_VOCAB) if t not in {BOS, *names}]
    centre = unit(rng.standard_normal(D_CODE))

    def easy(r):                          # fillers crowd around a direction that no name uses
        noise = r.standard_normal(D_CODE)
        return unit(centre + EASY_SPREAD * unit(noise - (noise @ centre) * centre))

    def hard(r):
        return unit(r.standard_normal(D_CODE))

    vectors = draw_names(rng, len(names), centre if hardness == "easy" else None)
    codes = np.zeros((N_VOCAB, D_CODE))
    codes[names] = vectors
    codes[fillers] = draw_apart(rng, len(fillers), COS_FILLER[hardness], vectors,
                                easy if hardness == "easy" else hard)
    return codes


def payload_codes(rng, identity):
    """What a token says when it is read [N_VOCAB, D_CODE]: r_i says k_i; <s> and QUERY nothing."""
    codes = unit(rng.standard_normal((N_VOCAB, D_CODE)))
    codes[VALUE0:FILLER0] = draw_names(rng, N_VALUE)
    codes[REF0:VALUE0] = identity[KEY0:REF0]
    codes[[BOS, QUERY]] = 0
    return codes


# ---- weights -----------------------------------------------------------------------------------

def embeddings(identity, payload):
    """Token embeddings [N_VOCAB, N_EMBD]; each row has squared norm NORM2_FIRST."""
    w = np.zeros((N_VOCAB, N_EMBD))
    w[:, CONST] = BETA
    w[:, ID] = identity
    w[:, PAYLOAD] = payload
    w[BOS, IS_BOS] = BOS_FLAG
    w[QUERY, IS_QUERY] = 1
    return w


def unembeddings(payload):
    """Output matrix [N_VOCAB, N_EMBD]: values answer to the OUT channel, NONE to the constant."""
    w = np.zeros((N_VOCAB, N_EMBD))
    w[VALUE0:FILLER0, OUT] = LOGIT_VALUE * payload[VALUE0:FILLER0]
    w[DEFAULT, CONST] = LOGIT_DEFAULT / BETA
    return w


def put(w, rows, channels, gain):
    """Adds gain times the identity from residual channels to head dimensions: w [d, N_EMBD]."""
    w[rows, channels] += gain * np.eye(D_CODE)


def key_weights(keys):
    """Key matrix of one group [D_HEAD, N_EMBD]. Every key also says whether it is <s>."""
    w = np.zeros((D_HEAD, N_EMBD))
    w[SINK_DIM, IS_BOS] = AMP / BOS_FLAG
    if keys == "clock":
        w[0:2 * CLOCK_PAIRS:2, CONST] = CLOCK_AMP / BETA
    else:
        put(w, CODE, PREV if keys == "prev" else ID, AMP)
    return w


def value_weights(layer, keys):
    """Value matrix of one group [D_HEAD, N_EMBD]: payload, or identity for the previous head."""
    w = np.zeros((D_HEAD, N_EMBD))
    if layer == 0 and keys == "clock":
        put(w, slice(0, D_CODE), ID, 1)
        w[D_CODE, IS_QUERY] = 1
    else:
        put(w, slice(0, D_CODE), PAYLOAD, 1)
    return w


def put_clock_query(w, scores, offset):
    """Clock query in w [D_HEAD, N_EMBD]: all pairs peak at the key `offset` tokens back."""
    for i, score in enumerate(scores):
        amp = score * np.sqrt(D_HEAD) / CLOCK_AMP / BETA
        angle = offset * ROPE_BASE ** (-2 * i / D_HEAD)
        w[2 * i, CONST] = amp * np.cos(angle)
        w[2 * i + 1, CONST] = -amp * np.sin(angle)


def query_weights(head):
    """Query matrix of one head [D_HEAD, N_EMBD]."""
    w = np.zeros((D_HEAD, N_EMBD))
    per_score = np.sqrt(D_HEAD) / AMP     # query amplitude that gives a score of 1
    if head.role == "previous":
        put_clock_query(w, [CLOCK_SCORE] * CLOCK_PAIRS, 1)
    elif head.role == "local":
        put_clock_query(w, LOCAL_SCORE, 2)
    elif head.role == "sink":
        w[SINK_DIM, CONST] = SINK_SCORE * per_score / BETA
    elif head.role in ("soft", "diffuse"):
        put(w, CODE, ID, (SOFT_SCORE if head.role == "soft" else DIFFUSE_SCORE) * per_score)
    else:                                 # retrieval, decoy
        put(w, CODE, (ID, SLOT1, SLOT2)[head.hop - 1], AMP)
        w[SINK_DIM, CONST] = SINK_OFF * AMP / BETA
        w[SINK_DIM, AFTER_QUERY] = -SINK_ON * AMP
    return w


def output_weights(head, n_hop):
    """Output matrix of one head [N_EMBD, D_HEAD]: where what it read is written."""
    w = np.zeros((N_EMBD, D_HEAD))
    if head.role == "previous":
        w[PREV, 0:D_CODE] = np.eye(D_CODE)
        w[AFTER_QUERY, D_CODE] = 1
    elif head.role == "retrieval":
        to = OUT if head.hop == n_hop else (SLOT1, SLOT2)[head.hop - 1]
        w[to, 0:D_CODE] = np.eye(D_CODE)
    else:
        w[JUNK, 0:D_CODE] = JUNK_GAIN * np.eye(D_CODE)
    return w


def layer_tensors(layer, heads, n_hop):
    """Tensors of one layer by GGUF name. heads: the layer's N_HEAD heads in order."""
    groups = heads[::GROUP]
    norm2 = NORM2_FIRST if layer == 0 else NORM2_LATER
    t = {
        "attn_norm": np.full(N_EMBD, np.sqrt(norm2 / N_EMBD)),
        "attn_q": np.concatenate([query_weights(h) for h in heads]),
        "attn_k": np.concatenate([key_weights(g.keys) for g in groups]),
        "attn_v": np.concatenate([value_weights(layer, g.keys) for g in groups]),
        "attn_output": np.concatenate([output_weights(h, n_hop) for h in heads], axis=1),
        "ffn_norm": np.ones(N_EMBD),
        "ffn_gate": np.zeros((N_FF, N_EMBD)),
        "ffn_up": np.zeros((N_FF, N_EMBD)),
        "ffn_down": np.zeros((N_EMBD, N_FF)),
    }
    return {f"blk.{layer}.{name}.weight": x for name, x in t.items()}


def model_tensors(kind, hardness, seed):
    """All tensors of the model by GGUF name, shapes as in NumPy (last index contiguous)."""
    rng = np.random.default_rng([seed, 0])
    identity = identity_codes(rng, hardness)
    payload = payload_codes(rng, identity)
    n_layer, hops = KINDS[kind]
    heads = plan_heads(kind, seed)
    tensors = {"token_embd.weight": embeddings(identity, payload)}
    for layer in range(n_layer):
        mine = [h for h in heads if h.layer == layer]
        tensors.update(layer_tensors(layer, mine, len(hops)))
    tensors["output_norm.weight"] = np.full(N_EMBD, np.sqrt(NORM2_LATER / N_EMBD))
    tensors["output.weight"] = unembeddings(payload)
    return tensors


# ---- the GGUF file -----------------------------------------------------------------------------

def piece(token):
    """Readable name of a token, without the space that precedes it in text."""
    if token in (UNK, BOS, EOS):
        return ("<unk>", "<s>", "</s>")[token]
    if token < QUERY:
        return f"<0x{token - BYTE0:02X}>"
    if token in (QUERY, DEFAULT):
        return "QUERY" if token == QUERY else "NONE"
    for letter, first in (("f", FILLER0), ("v", VALUE0), ("r", REF0), ("k", KEY0)):
        if token >= first:
            return f"{letter}{token - first}"
    raise ValueError(f"no token {token}")


def vocabulary():
    """Token texts and types. Words are user-defined tokens, so text is split at them as well."""
    kind = gguf.TokenType
    texts, types = [], []
    for token in range(N_VOCAB):
        word = token >= QUERY
        texts.append(" " + piece(token) if word else piece(token))
        types.append(kind.USER_DEFINED if word else kind.BYTE if token >= BYTE0 else
                     kind.UNKNOWN if token == UNK else kind.CONTROL)
    return texts, types


def write_metadata(w, kind, hardness, seed):
    """Hyperparameters, vocabulary and the recipe, into the GGUFWriter w."""
    w.add_name(f"known circuit, {kind}, {hardness}, seed {seed}")
    w.add_description("weights set by formula; sparsetrace tests/golden/known_circuit")
    w.add_file_type(gguf.LlamaFileType.ALL_F32)
    w.add_context_length(N_CTX)
    w.add_embedding_length(N_EMBD)
    w.add_block_count(KINDS[kind][0])
    w.add_feed_forward_length(N_FF)
    w.add_head_count(N_HEAD)
    w.add_head_count_kv(N_KV_HEAD)
    w.add_key_length(D_HEAD)
    w.add_value_length(D_HEAD)
    w.add_rope_dimension_count(D_HEAD)
    w.add_rope_freq_base(ROPE_BASE)
    w.add_layer_norm_rms_eps(NORM_EPS)
    w.add_vocab_size(N_VOCAB)
    texts, types = vocabulary()
    w.add_tokenizer_model("llama")
    w.add_token_list(texts)
    w.add_token_scores([0.0] * N_VOCAB)
    w.add_token_types(types)
    w.add_unk_token_id(UNK)
    w.add_bos_token_id(BOS)
    w.add_eos_token_id(EOS)
    w.add_add_bos_token(True)
    w.add_add_eos_token(False)
    w.add_add_space_prefix(False)
    w.add_string("known_circuit.kind", kind)
    w.add_string("known_circuit.hardness", hardness)
    w.add_uint64("known_circuit.seed", seed)


def write_model(kind, hardness, seed, path):
    """Writes the model to path."""
    w = gguf.GGUFWriter(str(path), "llama")
    write_metadata(w, kind, hardness, seed)
    for name, x in model_tensors(kind, hardness, seed).items():
        w.add_tensor(name, np.ascontiguousarray(x, dtype=np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def read_recipe(path):
    """(kind, hardness, seed) of a model written by write_model."""
    fields = gguf.GGUFReader(str(path)).fields
    if "known_circuit.kind" not in fields:
        raise SystemExit(f"make.py: {path}: not a known-circuit model")
    return tuple(fields[f"known_circuit.{n}"].contents() for n in ("kind", "hardness", "seed"))


# ---- prompts -----------------------------------------------------------------------------------

def place_pairs(rng, n_tok, n_asked, n_other, depth):
    """First positions of the pairs: asked [n_asked], others [n_other], none overlapping.

    Pairs start at 1, 4, 7, ...; the asked ones lie between 5 % and 90 % of the prompt. depth, if
    not None, places the first asked pair at that share of the prompt.
    """
    starts = np.arange(1, n_tok - 4, 3)
    inner = starts[(starts >= 0.05 * n_tok) & (starts <= 0.90 * n_tok)]
    if len(inner) < n_asked or len(starts) < n_asked + n_other:
        raise SystemExit(f"make.py: {n_tok} tokens are too few for {n_asked + n_other} pairs")
    asked = rng.choice(inner, n_asked, replace=False)
    if depth is not None:
        first = starts[np.argmin(np.abs(starts - depth * n_tok))]
        asked = np.concatenate([[first], asked[asked != first]])[:n_asked]
        if len(set(asked)) < n_asked:
            raise SystemExit("make.py: no room at this depth")
    others = rng.choice(np.setdiff1d(starts, asked), n_other, replace=False)
    return asked, others


def make_chains(rng, n_chain, n_hop):
    """n_chain chains of n_hop (key, value) token pairs; all but the last value are references."""
    keys = rng.permutation(N_KEY)[:n_chain * n_hop].reshape(n_chain, n_hop)
    values = rng.permutation(N_VALUE)[:n_chain]
    chains = []
    for names, last in zip(keys, values):
        says = [REF0 + k for k in names[1:]] + [VALUE0 + last]
        chains.append([(int(KEY0 + k), int(v)) for k, v in zip(names, says)])
    return chains


def make_prompt(kind, seed, n_tok, n_chain, depth):
    """Ids [n_tok] and the pairs as lists of (hop, position): the asked chain's and the others'."""
    n_hop = len(KINDS[kind][1])
    rng = np.random.default_rng([seed, 2, n_tok, n_hop])
    room = (n_tok - 5) // 3 // (2 * n_hop)
    n_chain = max(1, min(n_chain, room, N_VALUE, N_KEY // n_hop))
    chains = make_chains(rng, n_chain, n_hop)
    asked, others = place_pairs(rng, n_tok, n_hop, (n_chain - 1) * n_hop, depth)
    ids = rng.integers(FILLER0, N_VOCAB, n_tok)
    ids[0], ids[-2], ids[-1] = BOS, QUERY, chains[0][0][0]
    pairs = [pair for chain in chains for pair in chain]
    starts = np.concatenate([asked, others])
    for start, pair in zip(starts, pairs):
        ids[start:start + 2] = pair
    places = [(i % n_hop + 1, int(p)) for i, p in enumerate(starts)]
    return ids, places[:n_hop], places[n_hop:]


def designed_reads(heads, needles, n_tok):
    """Which key position each designed head must read, row by row; `route` marks causal ones."""
    last = n_tok - 1
    value_pos = {hop: start + 1 for hop, start in needles}
    reads = []

    def add(head, query, key, route, hop):
        reads.append({"layer": head.layer, "head": head.head, "role": head.role, "hop": hop,
                      "query": query, "key": key, "route": route})

    for head in heads:
        if head.role == "previous":
            for hop, start in needles:
                add(head, start + 1, start, True, hop)
            add(head, last, last - 1, True, 0)
        elif head.role in ("retrieval", "decoy"):
            add(head, last, value_pos[head.hop], head.role == "retrieval", head.hop)
    return reads


def describe_prompt(recipe, seed, ids, needles, others):
    """The JSON beside the prompt. recipe: (kind, hardness, seed) of the model."""
    kind, hardness, model_seed = recipe
    n_tok = len(ids)
    heads = plan_heads(kind, model_seed)

    def token(pos):
        return {"pos": pos, "id": int(ids[pos]), "piece": piece(int(ids[pos]))}

    def pair(hop, start):
        return {"hop": hop, "key": token(start), "value": token(start + 1)}

    answer = int(ids[needles[-1][1] + 1])
    return {
        "format": "known-circuit-prompt-1",
        "kind": kind, "hardness": hardness, "model_seed": model_seed, "prompt_seed": seed,
        "n_tok": n_tok, "n_layer": KINDS[kind][0], "n_head": N_HEAD, "n_kv_head": N_KV_HEAD,
        "d_head": D_HEAD,
        "answer": {"id": answer, "piece": piece(answer)},
        "default": {"id": DEFAULT, "piece": piece(DEFAULT)},
        "question": {"query": token(n_tok - 2), "key": token(n_tok - 1)},
        "needles": [pair(*p) for p in needles],
        "distractors": [pair(*p) for p in others],
        "heads": [{"layer": h.layer, "head": h.head, "kv_head": h.kv_head, "role": h.role,
                   "hop": h.hop} for h in heads],
        "reads": designed_reads(heads, needles, n_tok),
    }


def json_path(path):
    """prompt.ids -> prompt.json, prompt.ids.gz -> prompt.json."""
    path = path.with_suffix("") if path.suffix == ".gz" else path
    return path.with_suffix(".json")


def dump_json(note):
    """JSON text of a flat object, one line for each element of its lists."""
    lines = []
    for name, x in note.items():
        if isinstance(x, list):
            rows = ",\n".join("  " + json.dumps(row) for row in x)
            lines.append(f" {json.dumps(name)}: [\n{rows}\n ]" if x else f" {json.dumps(name)}: []")
        else:
            lines.append(f" {json.dumps(name)}: {json.dumps(x)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def write_prompt(recipe, seed, n_tok, n_chain, depth, path):
    """Writes ids, one a line (gzip if path ends in .gz), and the JSON beside them."""
    ids, needles, others = make_prompt(recipe[0], seed, n_tok, n_chain, depth)
    text = "".join(f"{t}\n" for t in ids.tolist()).encode()
    path.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)
    note = describe_prompt(recipe, seed, ids, needles, others)
    json_path(path).write_text(dump_json(note))


# ---- command line ------------------------------------------------------------------------------

def parse_args(argv):
    parser = argparse.ArgumentParser(description="known-circuit models and prompts for them")
    sub = parser.add_subparsers(dest="verb", required=True)
    model = sub.add_parser("model", help="write a GGUF")
    prompt = sub.add_parser("prompt", help="write token ids and the truth about them")
    for p in (model, prompt):
        p.add_argument("--kind", choices=KINDS, default="one")
        p.add_argument("--hardness", choices=COS_FILLER, default="easy")
        p.add_argument("--seed", type=int, default=0)
        p.add_argument("--out", type=Path, required=True)
    prompt.add_argument("--n-tok", type=int, required=True)
    prompt.add_argument("--model", type=Path, help="take kind, hardness and the model's seed "
                        "from this GGUF; --seed is then the prompt's alone")
    prompt.add_argument("--chains", type=int, help="chains in the prompt, the asked one included "
                        "(default: 16 of one hop, 5 of three)")
    prompt.add_argument("--depth", type=float, help="where the first asked pair stands, 0..1")
    args = parser.parse_args(argv)
    if args.seed < 0:
        parser.error("--seed must not be negative")
    return args


def main(argv=None):
    args = parse_args(argv)
    if args.verb == "model":
        write_model(args.kind, args.hardness, args.seed, args.out)
        return 0
    recipe = read_recipe(args.model) if args.model else (args.kind, args.hardness, args.seed)
    n_chain = args.chains or (16 if recipe[0] == "one" else 5)
    write_prompt(recipe, args.seed, args.n_tok, n_chain, args.depth, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
