// SPDX-License-Identifier: MIT
//
// text.js — the prompt as tokens that can be shown. Any bytes may be there: a character spread over tokens is shown
// with the first of them, what is not UTF-8 as U+FFFD, control characters as their pictures, a token of megabytes by
// its beginning. Nothing here makes markup.

const SHOWN_BYTES = 240; // of one token
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

// Control characters (and those that turn the reading direction) are made visible.
export function visible(text) {
    return text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g, (c) => {
        const code = c.codePointAt(0);
        if (code < 32) return String.fromCharCode(0x2400 + code);
        return code === 127 ? "\u2421" : `\u27e8${code.toString(16).toUpperCase()}\u27e9`;
    });
}

function sequenceLength(byte) {
    return byte < 0x80 ? 1 : byte < 0xc2 ? 0 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : byte < 0xf5 ? 4 : 0;
}

export class Text {
    // ptr: [nTok + 1] into bytes
    constructor(nTok, ptr, bytes) {
        this.nTok = nTok;
        this.ptr = ptr;
        this.bytes = bytes;
    }

    // Moves a place off the middle of a character, to its end.
    whole(at) {
        for (let back = 1; back <= 3 && at - back >= 0; back++) {
            const length = sequenceLength(this.bytes[at - back]);
            if (length > back && at - back + length <= this.bytes.length)
                return this.continues(at, at - back + length) ? at - back + length : at;
            if (length > 0) return at;
        }
        return at;
    }

    continues(from, to) {
        for (let i = from; i < to; i++) if ((this.bytes[i] & 0xc0) !== 0x80) return false;
        return true;
    }

    // Bytes of token i as it is shown: [begin, end), and whether that is all.
    range(i) {
        const begin = this.whole(this.ptr[i]);
        const end = Math.max(begin, this.whole(this.ptr[i + 1]));
        return end - begin > SHOWN_BYTES ? [begin, this.whole(begin + SHOWN_BYTES), end - begin] : [begin, end, 0];
    }

    // Token i with its line breaks, else visible.
    piece(i) {
        const [begin, end, of] = this.range(i);
        const text = decoder.decode(this.bytes.subarray(begin, end)).split("\n").map(visible).join("\n");
        return of ? `${text}\u2026 (${of.toLocaleString("en")} bytes)` : text;
    }

    // Tokens [begin, end) as one line of at most `width` characters.
    snippet(begin, end, width) {
        let out = "";
        for (let i = begin; i < end && out.length < width; i++) out += this.piece(i);
        out = out.replace(/\s+/g, " ").trim();
        const characters = [...out];
        return characters.length > width ? `${characters.slice(0, width - 1).join("")}\u2026` : out;
    }

    // ---- words and sentences ----------------------------------------------------------------------------------

    // The span of the unit that token i belongs to.
    unit(i, unit, bk) {
        if (unit === "token") return [i, i + 1];
        if (unit === "block") return [i - (i % bk), Math.min(this.nTok, i - (i % bk) + bk)];
        const begins = unit === "word" ? (j) => /^\s/.test(this.piece(j)) : (j) => this.sentenceBegins(j);
        let begin = i;
        let end = i + 1;
        while (begin > 0 && i - begin < 2000 && !begins(begin)) begin--;
        while (end < this.nTok && end - i < 2000 && !begins(end)) end++;
        return [begin, end];
    }

    sentenceBegins(j) {
        const before = this.piece(j - 1);
        return before.includes("\n") || (/[.?!]["')\]]?\s*$/.test(before) && /^\s/.test(this.piece(j)));
    }

    // ---- search -----------------------------------------------------------------------------------------------

    // Everything as one lower-case string, and the number of its characters before each token.
    index() {
        this.indexed ??= this.indexWhole() ?? this.indexPieces();
        return this.indexed;
    }

    // At one go; null where the text is not UTF-8, so that its characters cannot be counted from its bytes.
    indexWhole() {
        const text = decoder.decode(this.bytes);
        const starts = new Float64Array(this.nTok + 1);
        let units = 0;
        let token = 0;
        for (let at = 0; at <= this.bytes.length; at++) {
            while (token <= this.nTok && this.ptr[token] <= at) starts[token++] = units;
            if (at < this.bytes.length && (this.bytes[at] & 0xc0) !== 0x80) units += this.bytes[at] >= 0xf0 ? 2 : 1;
        }
        return units === text.length && token > this.nTok ? folded(text, starts) : null;
    }

    indexPieces() {
        const starts = new Float64Array(this.nTok + 1);
        const parts = [];
        for (let i = 0; i < this.nTok; i++) {
            const begin = this.whole(this.ptr[i]);
            parts.push(decoder.decode(this.bytes.subarray(begin, Math.max(begin, this.whole(this.ptr[i + 1])))));
            starts[i + 1] = starts[i] + parts[i].length;
        }
        return folded(parts.join(""), starts);
    }

    tokenAt(starts, unit) {
        let low = 0;
        let high = this.nTok - 1;
        while (low < high) {
            const middle = (low + high + 1) >> 1;
            if (starts[middle] <= unit) low = middle;
            else high = middle - 1;
        }
        return low;
    }

    // Spans of tokens that hold `what`, at most `most`.
    find(what, most) {
        const { text, lower, starts } = this.index();
        const wanted = lower ? what.toLowerCase() : what;
        const spans = [];
        for (
            let at = text.indexOf(wanted);
            wanted && at >= 0 && spans.length < most;
            at = text.indexOf(wanted, at + wanted.length)
        )
            spans.push([this.tokenAt(starts, at), this.tokenAt(starts, at + wanted.length - 1) + 1]);
        return spans;
    }
}

// Without regard to case, where that keeps the number of characters.
function folded(text, starts) {
    const small = text.toLowerCase();
    const lower = small.length === text.length;
    return { text: lower ? small : text, lower, starts };
}

// The text of a trace, or of an excerpt, whose piece lengths are packed; null where there is none.
export async function readText(trace) {
    const { nTok } = trace.geometry;
    if (!trace.has("text")) return null;
    const bytes = await trace.numbers("text");
    if (trace.has("piece_ptr")) return new Text(nTok, await trace.numbers("piece_ptr"), bytes);
    const packed = await trace.numbers("piece_bytes");
    const ptr = new Float64Array(nTok + 1);
    for (let i = 0, at = 0; i < nTok; i++) {
        let length = 0;
        for (let scale = 1, byte = 128; byte >= 128; scale *= 128) {
            byte = packed[at++] ?? 0;
            length += (byte & 127) * scale;
        }
        ptr[i + 1] = ptr[i] + length;
    }
    return new Text(nTok, ptr, bytes);
}
