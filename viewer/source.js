// SPDX-License-Identifier: MIT
//
// source.js — where the bytes come from: the page itself, or the server that it came from.

const PIECE = 16 << 20; // bytes that one answer of the server may have

function fromBase64(text) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const binary = atob(text);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    return bytes;
}

// What is in the page, or null. Its text is let go of.
export function embeddedSource() {
    const element = document.getElementById("data");
    if (!element) return null;
    const bytes = fromBase64(element.textContent.trim());
    element.remove();
    return { size: bytes.length, read: async (begin, end) => bytes.subarray(begin, end) };
}

// The JSON objects that the page carries under an id, one after the other in the text or one a line; none: [].
export function embeddedObjects(id, what) {
    const element = document.getElementById(id);
    if (!element) return [];
    const text = new TextDecoder().decode(fromBase64(element.textContent.trim()));
    element.remove();
    try {
        return [JSON.parse(text)];
    } catch {
        return text
            .split("\n")
            .filter((line) => line.trim())
            .map((line, n) => {
                try {
                    return JSON.parse(line);
                } catch (error) {
                    throw new Error(`${what}, line ${n + 1}: not JSON (${error.message})`, { cause: error });
                }
            });
    }
}

async function get(path) {
    const reply = await fetch(path);
    if (!reply.ok) throw new Error(`the server answers ${reply.status} to ${path}`);
    return reply;
}

export async function getBytes(path) {
    return new Uint8Array(await (await get(path)).arrayBuffer());
}

export async function getJson(path) {
    return (await get(path)).json();
}

export async function overviewSource() {
    const bytes = await getBytes("/overview");
    return { size: bytes.length, read: async (begin, end) => bytes.subarray(begin, end) };
}

// The trace that the server has, read where it is needed.
export async function servedSource(size) {
    const read = async (begin, end) => {
        const bytes = new Uint8Array(end - begin);
        for (let at = begin; at < end; at += PIECE) {
            const stop = Math.min(end, at + PIECE);
            bytes.set(await getBytes(`/bytes/${at}-${stop}`), at - begin);
        }
        return bytes;
    };
    return { size, read };
}
