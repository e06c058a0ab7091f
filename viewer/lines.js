// SPDX-License-Identifier: MIT
//
// lines.js — breaks the text into lines of a fixed number of columns, so that any of them can be shown without the
// others: 131,072 tokens scroll as fast as 100. A line begins at (token, character of the token's piece).

const WIDE = 0x2e80; // from here on most characters take two columns

function columnsOf(text) {
    let n = 0;
    for (const c of text) n += c.codePointAt(0) >= WIDE ? 2 : 1;
    return n;
}

// Whether token i is plain ASCII without control characters but line feeds.
function isPlain(bytes, begin, end) {
    for (let i = begin; i < end; i++) if ((bytes[i] < 32 && bytes[i] !== 10) || bytes[i] > 126) return false;
    return true;
}

class Breaker {
    constructor(text, columns) {
        this.text = text;
        this.columns = columns;
        this.token = [0]; // of each line
        this.character = [0];
        this.used = 0; // columns of the line at hand
        this.stop = -1; // token where the line could end
        this.usedAtStop = 0;
    }

    newLine(token, character, used) {
        this.token.push(token);
        this.character.push(character);
        this.used = used;
        this.stop = -1;
    }

    // A run of `width` columns without line feed that begins at (token, character).
    run(token, character, width) {
        if (this.used + width > this.columns && this.stop > this.token.at(-1)) {
            this.newLine(this.stop, 0, this.used - this.usedAtStop);
        }
        if (this.used + width > this.columns && this.used > 0) this.newLine(token, character, 0);
        this.used += width;
    }

    add(i) {
        const [begin, end, cut] = this.text.range(i);
        const bytes = this.text.bytes;
        if (bytes[begin] === 32 && begin < end) {
            this.stop = i;
            this.usedAtStop = this.used;
        }
        if (!cut && end - begin <= this.columns && isPlain(bytes, begin, end)) this.addPlain(i, bytes, begin, end);
        else this.addPiece(i, this.text.piece(i));
    }

    addPlain(i, bytes, begin, end) {
        let from = begin;
        for (let at = bytes.indexOf(10, from); at >= 0 && at < end; at = bytes.indexOf(10, from)) {
            this.run(i, from - begin, at - from);
            this.newLine(i, at + 1 - begin, 0);
            from = at + 1;
        }
        if (from < end) this.run(i, from - begin, end - from);
    }

    addPiece(i, piece) {
        let character = 0;
        for (const part of piece.split("\n")) {
            if (character > 0) this.newLine(i, character, 0);
            const points = [...part];
            let at = character;
            for (let from = 0; from < points.length || from === 0; from += this.columns >> 1) {
                const slice = points.slice(from, from + (this.columns >> 1)).join("");
                this.run(i, at, columnsOf(slice));
                at += slice.length;
            }
            character += part.length + 1;
        }
    }
}

// {token, character}: Int32Arrays with one more entry than there are lines; the last one is the end.
export function breakLines(text, columns) {
    const b = new Breaker(text, Math.max(20, columns));
    for (let i = 0; i < text.nTok; i++) b.add(i);
    b.token.push(text.nTok);
    b.character.push(0);
    return { token: Int32Array.from(b.token), character: Int32Array.from(b.character), n: b.token.length - 1 };
}

// The line on which token i begins.
export function lineOf(lines, i) {
    let low = 0;
    let high = lines.n - 1;
    while (low < high) {
        const middle = (low + high + 1) >> 1;
        const starts = lines.token[middle] < i || (lines.token[middle] === i && lines.character[middle] === 0);
        if (starts) low = middle;
        else high = middle - 1;
    }
    return low;
}

// The pieces of a line: [{token, text}].
export function lineParts(text, lines, n) {
    const [t0, t1] = [lines.token[n], lines.token[n + 1]];
    const [c0, c1] = [lines.character[n], lines.character[n + 1]];
    const parts = [];
    for (let t = t0; t < t1 || (t === t1 && c1 > 0); t++) {
        const piece = text.piece(t).slice(t === t0 ? c0 : 0, t === t1 ? c1 : undefined);
        if (piece !== "") parts.push({ token: t, text: piece.replace("\n", "\u21b5") });
    }
    return parts;
}
