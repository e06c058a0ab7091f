// SPDX-License-Identifier: MIT
//
// trace.js — a reader of docs/trace-format.md and docs/view-format.md, written from these documents alone. It
// reads through a source: {size, read(begin, end) -> Promise<Uint8Array>}, so that a file in memory and one that
// a server has are the same to it. Errors say what is wrong and at which byte.

export class TraceError extends Error {}

const ELEMENT_BYTES = {
    BOOL: 1,
    U8: 1,
    I8: 1,
    U16: 2,
    I16: 2,
    F16: 2,
    BF16: 2,
    U32: 4,
    I32: 4,
    F32: 4,
    U64: 8,
    I64: 8,
    F64: 8,
};
const HEADER_MAX = 256 << 20;

function bad(at, what) {
    throw new TraceError(`byte ${at}: ${what}`);
}

// ---- container ------------------------------------------------------------------------------------------------

async function readHeader(source) {
    if (source.size < 8) bad(0, `the file has ${source.size} bytes and no header: it is cut off or not a trace`);
    const first = await source.read(0, 8);
    const view = new DataView(first.buffer, first.byteOffset, 8);
    const length = view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
    if (length > HEADER_MAX || length > source.size - 8)
        bad(0, `a header of ${length} bytes in a file of ${source.size}: it is cut off or not a trace`);
    const text = new TextDecoder().decode(await source.read(8, 8 + length));
    let json = null;
    try {
        json = JSON.parse(text);
    } catch (error) {
        bad(8, `the header is not JSON (${error.message})`);
    }
    if (json === null || typeof json !== "object" || Array.isArray(json)) bad(8, "the header is not an object");
    return { json, data: 8 + length };
}

function checkTensor(name, t) {
    const size = ELEMENT_BYTES[t?.dtype];
    const whole = (x) => Number.isSafeInteger(x) && x >= 0;
    if (!size || !Array.isArray(t.shape) || !t.shape.every(whole)) bad(8, `tensor ${name} has no known type or shape`);
    const offsets = t.data_offsets;
    if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(whole)) bad(8, `tensor ${name} has no place`);
    const bytes = t.shape.reduce((a, b) => a * b, size);
    if (offsets[1] - offsets[0] !== bytes)
        bad(8, `tensor ${name}: its shape takes ${bytes} bytes, its place has another size`);
}

// Name -> {dtype, shape, begin, end} with file offsets; the ranges must tile the data.
function listTensors(json, data, size) {
    const tensors = new Map();
    for (const [name, t] of Object.entries(json)) {
        if (name === "__metadata__") continue;
        checkTensor(name, t);
        tensors.set(name, {
            dtype: t.dtype,
            shape: t.shape,
            begin: data + t.data_offsets[0],
            end: data + t.data_offsets[1],
        });
    }
    let at = data;
    for (const t of [...tensors.values()].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
        if (t.begin !== at) bad(at, "the tensors leave a gap or overlap");
        at = t.end;
    }
    if (at !== size) bad(at, `the data should end here, the file has ${size} bytes: it is cut off or was changed`);
    return tensors;
}

// ---- numbers --------------------------------------------------------------------------------------------------

const HALF = (() => {
    const table = new Float32Array(65536);
    for (let i = 0; i < 65536; i++) {
        const exponent = (i >> 10) & 31;
        const fraction = i & 1023;
        let x = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
        if (exponent === 31) x = fraction ? NaN : Infinity;
        table[i] = i & 0x8000 ? -x : x;
    }
    return table;
})();

// The half float that 16 bits mean.
export function halfFloat(bits) {
    return HALF[bits];
}

// Little-endian bytes, aligned or not, as numbers. I64 become doubles: exact up to 2^53.
function decode(dtype, bytes) {
    const size = ELEMENT_BYTES[dtype];
    const n = bytes.length / size;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const make = (out, get) => {
        for (let i = 0; i < n; i++) out[i] = get(i * size);
        return out;
    };
    switch (dtype) {
        case "U8":
            return bytes;
        case "I32":
            return make(new Int32Array(n), (at) => view.getInt32(at, true));
        case "F32":
            return make(new Float32Array(n), (at) => view.getFloat32(at, true));
        case "F64":
            return make(new Float64Array(n), (at) => view.getFloat64(at, true));
        case "F16":
            return make(new Float32Array(n), (at) => HALF[view.getUint16(at, true)]);
        case "I64":
            return make(new Float64Array(n), (at) => view.getUint32(at, true) + view.getInt32(at + 4, true) * 2 ** 32);
        default:
            throw new TraceError(`tensors of type ${dtype} are not read here`);
    }
}

// ---- metadata -------------------------------------------------------------------------------------------------

function parseGeometry(text) {
    let g = null;
    try {
        g = JSON.parse(text ?? "");
    } catch {
        bad(8, "the geometry is missing or not JSON");
    }
    const whole = (name, low, high) => {
        if (!Number.isSafeInteger(g?.[name]) || g[name] < low || g[name] > high)
            bad(8, `geometry: ${name} is not a whole number ${low}..${high}`);
        return g[name];
    };
    const nTok = whole("n_tok", 1, 2 ** 31 - 1);
    const bq = whole("bq", 1, 65536);
    const bk = whole("bk", 1, 65536);
    const rowBegin = whole("row_begin", 0, nTok);
    const rowEnd = whole("row_end", rowBegin, nTok);
    if (!Array.isArray(g.layers)) bad(8, "geometry: layers is not a list");
    return {
        nTok,
        bq,
        bk,
        nbq: Math.ceil(nTok / bq),
        nbk: Math.ceil(nTok / bk),
        rowBegin,
        rowEnd,
        blkBegin: rowBegin < rowEnd ? Math.floor(rowBegin / bq) : 0,
        blkEnd: rowBegin < rowEnd ? Math.ceil(rowEnd / bq) : 0,
        complete: g.complete === true,
        nTokRun: g.n_tok_run,
        massFloor: Number(g.mass_floor) || 0,
        layers: g.layers,
    };
}

// Sums of token pairs over the layers that were pruned; null where there is none.
export function prunedShare(geometry) {
    let kept = 0;
    let visible = 0;
    for (const l of geometry.layers) {
        if (l.kind === "exact") continue;
        kept += l.kept_pairs + l.exact_pairs;
        visible += l.visible_pairs + l.exact_pairs;
    }
    return visible > 0 ? { kept, visible, share: 1 - kept / visible } : null;
}

// ---- a trace --------------------------------------------------------------------------------------------------

export class Trace {
    constructor(source, json, tensors) {
        this.source = source;
        this.tensors = tensors;
        this.meta = json.__metadata__ ?? {};
        const format = this.meta.format;
        if (format !== "sparsetrace.trace" && format !== "sparsetrace.view")
            bad(8, `not a trace: its format is ${JSON.stringify(format ?? null)}, not "sparsetrace.trace"`);
        if (this.meta.format_version !== "1")
            bad(8, `format version ${this.meta.format_version} is not known here; 1 is`);
        this.geometry = this.meta.geometry === undefined ? null : parseGeometry(this.meta.geometry);
        this.recorded = (this.geometry?.layers ?? []).filter((l) => l.recorded);
    }

    has(name) {
        return this.tensors.has(name);
    }

    // A metadata document, or null.
    document(key) {
        try {
            return JSON.parse(this.meta[key] ?? "null");
        } catch {
            return null;
        }
    }

    // Elements [begin, end) of a tensor, counted over all its indices.
    async numbers(name, begin = 0, end = Infinity) {
        const t = this.tensors.get(name);
        if (!t) bad(8, `tensor ${name} is missing`);
        const size = ELEMENT_BYTES[t.dtype];
        const n = (t.end - t.begin) / size;
        const from = t.begin + Math.max(0, Math.min(begin, n)) * size;
        const to = t.begin + Math.max(0, Math.min(end, n)) * size;
        return decode(t.dtype, await this.source.read(from, Math.max(from, to)));
    }
}

export async function openTrace(source) {
    const { json, data } = await readHeader(source);
    return new Trace(source, json, listTensors(json, data, source.size));
}

// ---- selections -----------------------------------------------------------------------------------------------

// Rows in compressed form: the entries of row r are indptr[r] .. indptr[r + 1] - 1 of indices and mass. These
// are rows [rowBegin, rowEnd) of a layer's matrix, one for each (head, query block), head-major.
export async function readRows(trace, layer, rowBegin, rowEnd) {
    const indptr = await trace.numbers(`layer.${layer}.indptr`, rowBegin, rowEnd + 1);
    const first = indptr[0];
    const last = indptr[indptr.length - 1];
    const [indices, mass] = await Promise.all([
        trace.numbers(`layer.${layer}.indices`, first, last),
        trace.numbers(`layer.${layer}.mass`, first, last),
    ]);
    return { indptr: indptr.map((x) => x - first), indices, mass };
}

// The same from the packed form of an excerpt: all rows of the layer.
export function unpackRows(bytes, nRow, massBits) {
    const indptr = new Float64Array(nRow + 1);
    let room = Math.max(1024, bytes.length >> 1);
    let indices = new Int32Array(room);
    let mass = new Float32Array(room);
    let at = 0;
    let n = 0;
    const varint = () => {
        let x = 0;
        for (let scale = 1; ; scale *= 128) {
            if (at >= bytes.length) throw new TraceError("a packed selection is cut off");
            const byte = bytes[at++];
            x += (byte & 127) * scale;
            if (byte < 128) return x;
        }
    };
    for (let row = 0; row < nRow; row++) {
        let block = 0;
        for (let left = varint(); left > 0; left--) {
            if (n === room) {
                room *= 2;
                indices = grown(indices, room);
                mass = grown(mass, room);
            }
            block += varint();
            indices[n] = block;
            mass[n++] = massBits === 8 ? (bytes[at] / 255) ** 2 : HALF[bytes[at] | (bytes[at + 1] << 8)];
            at += massBits / 8;
        }
        indptr[row + 1] = n;
    }
    if (at !== bytes.length) throw new TraceError("a packed selection does not end where it should");
    return { indptr, indices: indices.subarray(0, n), mass: mass.subarray(0, n) };
}

function grown(array, room) {
    const larger = new array.constructor(room);
    larger.set(array);
    return larger;
}
