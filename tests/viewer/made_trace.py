# SPDX-License-Identifier: MIT
"""Traces made of nothing, for the viewer's tests: any size, any text, written by the stock safetensors package from
docs/trace-format.md."""

import json

import numpy as np
from safetensors.numpy import save_file

WORDS = ["the", " grass", " is", " green", ".", " The", " sky", " is", " blue", ".\n"]


def certificate(layers, samples):
    """Section 5 of the format; samples: {layer: (recall, err)} of shape [n_head, n_row]."""
    heads = np.array([samples[layer][0].shape[0] for layer in layers], float)
    weight = heads / heads.sum()
    x = [samples[layer][0].astype(float).mean(0) for layer in layers]
    mean = float(sum(w * a.mean() for w, a in zip(weight, x, strict=True)))
    var = sum(
        w**2 * ((a[1:] - a[:-1]) ** 2).sum() / (2 * len(a) * (len(a) - 1)) for w, a in zip(weight, x, strict=True)
    )
    per_head = [
        (float(samples[layer][0][h].astype(float).mean()), layer, h)
        for layer in layers
        for h in range(len(samples[layer][0]))
    ]
    worst = min(per_head)
    half = 1.96 * float(np.sqrt(var))
    every = np.concatenate([samples[layer][0].astype(float).ravel() for layer in layers])
    return {
        "n_layer": len(layers),
        "n_head": int(heads.sum()),
        "n_row": max(len(a) for a in x),
        "recall_mean": mean,
        "recall_ci95": [max(0.0, mean - half), min(1.0, mean + half)],
        "recall_p5": float(np.percentile(every, 5)),
        "recall_worst": worst[0],
        "worst_layer": worst[1],
        "worst_head": worst[2],
        "err_mean": float(
            sum(w * samples[layer][1].astype(float).mean() for w, layer in zip(weight, layers, strict=True))
        ),
    }


def rows_of(rng, n_head, nbq, bq, bk, k, needle=None):
    """CSR of one layer: sink, the own and the previous block, and k - 3 far ones in rising strata. needle: (head, key
    block, mass) of the last row."""
    b = np.arange(nbq, dtype=np.int64)
    own = ((b + 1) * bq - 1) // bk
    index = np.empty((n_head, nbq, k), np.int64)
    index[:, :, 0] = 0
    index[:, :, k - 1] = own
    index[:, :, k - 2] = own - 1
    far = k - 3
    u = (np.arange(far) + rng.random((n_head, nbq, far))) / far
    index[:, :, 1 : 1 + far] = 1 + (u * np.maximum(own - 2, 0)[None, :, None]).astype(np.int64)
    if needle:
        at = 1 + int((needle[1] - 1) / (own[-1] - 2) * far)  # its stratum
        index[needle[0], -1, at] = needle[1]
    good = np.ones(index.shape, bool)
    good[:, :, 1:] = index[:, :, 1:] > np.maximum.accumulate(index, axis=2)[:, :, :-1]
    good &= index >= 0
    mass = rng.random(index.shape) ** 6 + 1e-4
    mass[:, :, [0, k - 1, k - 2]] += 0.3
    mass = np.where(good, mass, 0)
    mass = (mass / mass.sum(2, keepdims=True)).astype(np.float16)
    if needle:
        mass[needle[0], -1, at] = needle[2]
    indptr = np.concatenate([[0], np.cumsum(good.sum(2).ravel())]).astype(np.int64)
    return indptr, index[good].astype(np.int32), mass[good]


def group_tensors(rng, spans, layers, n_head):
    """Dense lower triangles A, a little like attention between sentences: {name: array}."""
    n = len(spans)
    i, j = np.tril_indices(n)
    out = {"groups": np.array(spans, np.int64)}
    for layer in layers:
        out[f"layer.{layer}.group_indptr"] = np.concatenate([[0], np.cumsum(np.tile(np.arange(1, n + 1), n_head))])
        out[f"layer.{layer}.group_indices"] = np.tile(j, n_head).astype(np.int32)
        out[f"layer.{layer}.group_mean"] = (rng.random(n_head * len(i)) ** 3 * 0.01 + 1e-5).astype(np.float32)
    return out


def reasoning(spans):
    """The document of section 3.2."""
    tags = ["problem_setup", "plan_generation", "active_computation", "self_checking", "final_answer_emission"]
    phases = ["understand", "plan", "compute", "verify", "conclude"]
    n = len(spans)
    return {
        "version": 1,
        "id": "made",
        "quality": {"n_sentence": n, "check_share": 0.25, "score": None, "dead_share": 0.125},
        "anchors": [{"sentence": 5, "score": 0.01, "readers": []}],
        "sentences": [
            {
                "tag": tags[i * 5 // n],
                "p": 0.9,
                "phase": phases[i * 5 // n],
                "receiver": 0.002 * (i == 5) + 0.001,
                "dead": i == 7,
                "jump": False,
                "text": f"<b>sentence</b> {i}",
            }
            for i in range(n)
        ],
    }


def make_trace(
    path,
    n_tok=1024,
    layers=(0, 1, 3),
    n_head=3,
    bq=32,
    bk=16,
    k=8,
    pieces=None,
    seed=1,
    needle=None,
    agree=True,
    complete=True,
    spans=None,
    document=False,
):
    """needle: (layer, head, key block, mass): what the last query block of that head reads. spans: groups of tokens;
    document: with the document "reasoning" of them."""
    rng = np.random.default_rng(seed)
    nbq = -(-n_tok // bq)
    tensors, samples = {}, {}
    for layer in layers:
        indptr, indices, mass = rows_of(
            rng, n_head, nbq, bq, bk, k, needle[1:] if needle and needle[0] == layer else None
        )
        indices = np.minimum(indices, (n_tok - 1) // bk)  # the last blocks may be partial
        keep = np.ones(len(indices), bool)
        keep[1:] = (np.diff(indices) > 0) | (np.isin(np.arange(1, len(indices)), indptr))
        indptr = np.concatenate([[0], np.cumsum(keep)])[indptr]
        indices, mass = indices[keep], mass[keep]
        tensors |= {
            f"layer.{layer}.head": np.arange(n_head, dtype=np.int32),
            f"layer.{layer}.indptr": indptr.astype(np.int64),
            f"layer.{layer}.indices": indices,
            f"layer.{layer}.mass": mass,
            f"layer.{layer}.cert_rows": np.linspace(1, n_tok - 1, 8).astype(np.int64),
            f"layer.{layer}.cert_recall": (0.6 + 0.4 * rng.random((n_head, 8))).astype(np.float32),
            f"layer.{layer}.cert_err": rng.random((n_head, 8)).astype(np.float32),
        }
        samples[layer] = (tensors[f"layer.{layer}.cert_recall"], tensors[f"layer.{layer}.cert_err"])
    if spans:
        tensors |= group_tensors(rng, spans, layers, n_head)
    if pieces is None:
        pieces = [WORDS[i % len(WORDS)].encode() for i in range(n_tok)]
    assert len(pieces) == n_tok
    tensors["piece_ptr"] = np.concatenate([[0], np.cumsum([len(p) for p in pieces])]).astype(np.int64)
    tensors["text"] = np.frombuffer(b"".join(pieces), np.uint8).copy()
    tensors["tokens"] = np.arange(n_tok, dtype=np.int32)
    visible = n_head * n_tok * (n_tok + 1) // 2
    geometry = {
        "n_tok": n_tok,
        "n_tok_run": n_tok if complete else 2 * n_tok,
        "bq": bq,
        "bk": bk,
        "complete": complete,
        "row_begin": 0,
        "row_end": n_tok,
        "mass_floor": 0.0,
        "layers": [
            {
                "layer": layer,
                "n_head": n_head,
                "kind": "sparse",
                "recorded": True,
                "kept_pairs": visible // 16,
                "visible_pairs": visible,
                "exact_pairs": 0,
            }
            for layer in layers
        ],
    }
    token = {"id": 1, "text": " blue", "p": 0.75}
    meta = {
        "format": "sparsetrace.trace",
        "format_version": "1",
        "geometry": json.dumps(geometry),
        "certificate": json.dumps(certificate(list(layers), samples)),
        "recipe": json.dumps(
            {"model": {"name": "made of nothing", "sha256": "ab" * 32}, "select": {"k": k, "method": "stream"}}
        ),
        "result": json.dumps(
            {
                "next_token": {
                    "agree": None if agree is None else bool(agree),
                    "against": "none" if agree is None else "dense",
                    "sparse": token,
                    **({} if agree is None else {"dense": {**token, "id": 2 if agree == "floor" else 1}}),
                },
                "kl": 0.25,
            }
        ),
    }
    if document:
        meta["reasoning"] = json.dumps(reasoning(spans))
    save_file(tensors, path, meta)
    return tensors


def dense(tensors, layer, nbq, nbk, n_head):
    """[n_head, nbq, nbk] of masses."""
    indptr = tensors[f"layer.{layer}.indptr"]
    out = np.zeros((n_head * nbq, nbk))
    row = np.repeat(np.arange(n_head * nbq), np.diff(indptr))
    out[row, tensors[f"layer.{layer}.indices"]] = tensors[f"layer.{layer}.mass"].astype(float)
    return out.reshape(n_head, nbq, nbk)
