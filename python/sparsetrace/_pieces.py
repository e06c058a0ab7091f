# SPDX-License-Identifier: MIT
"""The bytes that each token stands for, out of a transformers tokenizer. Together they are the text."""

import re

BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def byte_letters():
    """GPT-2's printable letter of each byte, the other way round."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(others)}


LETTERS = byte_letters()


def pieces_of(tokenizer, ids):
    """[bytes] for token ids. Byte-level and SentencePiece vocabularies are read exactly, others by decoding each
    token."""
    words = tokenizer.convert_ids_to_tokens(ids)
    added = {i: str(t) for i, t in tokenizer.added_tokens_decoder.items()}
    vocabulary = [w for w in words if w is not None]
    spaces = any("\u2581" in w for w in vocabulary)
    letters = not spaces and all(ch in LETTERS for i, w in zip(ids, words) if w and i not in added for ch in w)
    return [one(tokenizer, i, w, added, spaces, letters) for i, w in zip(ids, words)]


def one(tokenizer, i, word, added, spaces, letters):
    if word is None:
        return b""
    if i in added:
        return added[i].encode()
    if spaces:
        byte = BYTE.fullmatch(word)
        return bytes([int(byte.group(1), 16)]) if byte else word.replace("\u2581", " ").encode()
    if letters:
        return bytes(LETTERS[ch] for ch in word)
    return tokenizer.decode([i], clean_up_tokenization_spaces=False).encode()
