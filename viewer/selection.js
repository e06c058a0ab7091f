// SPDX-License-Identifier: MIT
//
// selection.js — the questions that the panels ask of the kept blocks: one head's rows, a whole layer, what a span
// of rows reads, who reads a span of keys. The same answers from a page that has everything and from a server;
// the sums are those of st_trace_reads and st_trace_readers.

import { readRows, unpackRows } from "./trace.js";
import { getBytes, getJson } from "./source.js";

const ROWS_AT_ONCE = 128; // query blocks of which a server gives all rows

// heads: null for all, else [{layer, head}].
class Selections {
    constructor(trace, heads) {
        this.trace = trace;
        this.geometry = trace.geometry;
        this.heads = heads; // all: [{layer, head, i: position of the layer, h: position in the layer}]
        this.cache = new Map();
    }

    // Query blocks that rows [begin, end) touch and that are recorded.
    blocksOf(begin, end) {
        const g = this.geometry;
        return [Math.max(g.blkBegin, Math.floor(begin / g.bq)), Math.min(g.blkEnd, Math.ceil(end / g.bq))];
    }

    chosen(heads) {
        return heads === null
            ? this.heads
            : this.heads.filter((a) => heads.some((b) => a.layer === b.layer && a.head === b.head));
    }

    keep(key, make) {
        if (this.cache.size > 40) this.cache.delete(this.cache.keys().next().value);
        if (!this.cache.has(key)) this.cache.set(key, make());
        return this.cache.get(key);
    }
}

// Shares of blocks, and for each block the head that gives the most.
class Shares {
    constructor(n) {
        this.share = new Float64Array(n);
        this.most = new Float32Array(n);
        this.by = new Int32Array(n).fill(-1);
    }
}

export class EmbeddedSelections extends Selections {
    async layer(i) {
        this.layers ??= [];
        this.layers[i] ??= this.unpack(this.trace.recorded[i].layer);
        return this.layers[i];
    }

    async unpack(layer) {
        const heads = await this.trace.numbers(`layer.${layer}.head`);
        const bytes = await this.trace.numbers(`layer.${layer}.packed`);
        const bits = this.trace.document("view")?.mass_bits ?? 16;
        return unpackRows(bytes, heads.length * this.geometry.nbq, bits);
    }

    async head({ i, h }) {
        const rows = await this.layer(i);
        const nbq = this.geometry.nbq;
        const first = rows.indptr[h * nbq];
        const indptr = rows.indptr.slice(h * nbq, (h + 1) * nbq + 1).map((x) => x - first);
        const last = first + indptr[nbq];
        return { indptr, indices: rows.indices.subarray(first, last), mass: rows.mass.subarray(first, last) };
    }

    async reads(begin, end, heads) {
        const [from, to] = this.blocksOf(begin, end);
        const out = new Shares(this.geometry.nbk);
        const chosen = this.chosen(heads);
        const here = new Float64Array(this.geometry.nbk);
        for (const a of chosen) {
            const { indptr, indices, mass } = await this.layer(a.i);
            const row = a.h * this.geometry.nbq;
            const touched = [];
            for (let at = indptr[row + from]; at < indptr[row + Math.max(from, to)]; at++) {
                if (here[indices[at]] === 0) touched.push(indices[at]);
                here[indices[at]] += mass[at];
            }
            gather(out, here, touched, this.heads.indexOf(a), 1 / Math.max(1, to - from), 1 / chosen.length);
        }
        return out;
    }

    async readers(begin, end, heads) {
        const g = this.geometry;
        const from = Math.floor(begin / g.bk);
        const to = Math.ceil(end / g.bk);
        const out = new Shares(g.nbq);
        const chosen = this.chosen(heads);
        const number = new Map(chosen.map((a) => [`${a.i}.${a.h}`, this.heads.indexOf(a)]));
        const sums = new Float64Array(g.nbq);
        for (const i of new Set(chosen.map((a) => a.i))) {
            const { ptr, row, mass } = await this.columns(i);
            for (const a of chosen) {
                if (a.i !== i) continue;
                const touched = [];
                const first = a.h * g.nbq;
                for (let c = from; c < to; c++)
                    for (let at = lowerBound(row, ptr[c], ptr[c + 1], first); at < ptr[c + 1]; at++) {
                        const b = row[at] - first;
                        if (b >= g.nbq) break;
                        if (sums[b] === 0) touched.push(b);
                        sums[b] += mass[at];
                    }
                gather(out, sums, touched, number.get(`${a.i}.${a.h}`), 1, 1 / chosen.length);
            }
        }
        return out;
    }

    // A layer's entries by key block: ptr [nbk + 1], rows (head * nbq + query block, rising in each column), masses.
    async columns(i) {
        this.byColumn ??= [];
        return (this.byColumn[i] ??= transposed(await this.layer(i), this.geometry.nbk));
    }
}

function transposed({ indptr, indices, mass }, n) {
    const ptr = new Int32Array(n + 1);
    for (const c of indices) ptr[c + 1]++;
    for (let c = 0; c < n; c++) ptr[c + 1] += ptr[c];
    const next = ptr.slice();
    const out = { ptr, row: new Int32Array(indices.length), mass: new Float32Array(indices.length) };
    for (let r = 0; r + 1 < indptr.length; r++)
        for (let at = indptr[r]; at < indptr[r + 1]; at++) {
            const to = next[indices[at]]++;
            out.row[to] = r;
            out.mass[to] = mass[at];
        }
    return out;
}

// The first place in the rising list [low, high) that is not below x.
function lowerBound(list, low, high, x) {
    while (low < high) {
        const middle = (low + high) >> 1;
        if (list[middle] < x) low = middle + 1;
        else high = middle;
    }
    return low;
}

// Adds one head's sums to the shares and clears them.
function gather(out, here, touched, number, perRow, perHead) {
    for (const c of touched) {
        const x = here[c] * perRow;
        here[c] = 0;
        out.share[c] += x * perHead;
        if (x > out.most[c]) [out.most[c], out.by[c]] = [x, number];
    }
}

export class ServedSelections extends Selections {
    async layer(i) {
        const { layer } = this.trace.recorded[i];
        return readRows(this.trace, layer, 0, this.heads.filter((a) => a.i === i).length * this.geometry.nbq);
    }

    async head({ i, h, layer }) {
        const nbq = this.geometry.nbq;
        return this.keep(`head ${layer}.${h}`, () =>
            readRows(this.trace, this.trace.recorded[i].layer, h * nbq, (h + 1) * nbq),
        );
    }

    async reads(begin, end, heads) {
        const [from, to] = this.blocksOf(begin, end);
        const out = new Shares(this.geometry.nbk);
        if (from >= to) return out;
        if (to - from > ROWS_AT_ONCE) return this.ask("reads", begin, end, heads, out);
        const answer = await this.keep(`rows ${from}-${to}`, () => getJson(`/rows/${begin}-${end}`));
        const chosen = this.chosen(heads);
        const number = new Map(chosen.map((a) => [`${a.layer}.${a.head}`, this.heads.indexOf(a)]));
        const here = new Float64Array(this.geometry.nbk);
        let at = 0;
        for (const a of chosen) {
            const touched = [];
            while (at < answer.rows.length && !number.has(`${answer.rows[at].layer}.${answer.rows[at].head}`)) at++;
            for (
                ;
                at < answer.rows.length && answer.rows[at].layer === a.layer && answer.rows[at].head === a.head;
                at++
            )
                answer.rows[at].key_blocks.forEach((c, j) => {
                    if (here[c] === 0) touched.push(c);
                    here[c] += answer.rows[at].mass[j];
                });
            gather(out, here, touched, this.heads.indexOf(a), 1 / (to - from), 1 / chosen.length);
        }
        return out;
    }

    async readers(begin, end, heads) {
        return this.ask("readers", begin, end, heads, new Shares(this.geometry.nbq));
    }

    // The server's own sums, which do not say which head gives the most.
    async ask(what, begin, end, heads, out) {
        const list =
            heads === null
                ? "all"
                : this.chosen(heads)
                      .map((a) => `${a.layer}.${a.head}`)
                      .join(",");
        if (list === "") return out;
        const bytes = await this.keep(`${what} ${begin}-${end} ${list}`, () =>
            getBytes(`/${what}/${begin}-${end}/${list}`),
        );
        out.share = new Float64Array(bytes.slice().buffer);
        return out;
    }
}

// The heaviest blocks first; of equals the lower one. At most `most`, none that is 0.
export function heaviest(share, most) {
    const list = [];
    for (let i = 0; i < share.length; i++) if (share[i] > 0) list.push(i);
    list.sort((a, b) => share[b] - share[a] || a - b);
    return list.slice(0, most);
}
