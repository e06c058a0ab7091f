# SPDX-License-Identifier: MIT
"""What the tagger sees of a sentence: hashed features of its bytes, its neighbours and its place.

src/reason/features.c computes the same, and docs/method/reasoning.md is the definition of both;
tests/python/test_reason.py holds them against each other.
"""

import re

import numpy as np
import scipy.sparse

READ_BYTES = 4096  # a sentence is read up to here
MASK = (1 << 64) - 1
WORD = re.compile(rb"[a-z'\x80-\xff]+|[^ a-z'\x80-\xff]")
NUMBER = re.compile(rb"[0-9]+(?:\.[0-9]+)?")
# Value of a feature by its kind (the first byte of its name); a kind with root() is divided by the
# square root of how many features of that kind the sentence has.
VALUE = {"w": 1.0, "b": 1.0, "t": 1.0, "c": 0.35, "e": 1.0, "p": 1.0, "W": 0.5, "B": 0.35, "E": 1.0}


def normalise(sentence):
    """Lower case (ASCII), every run of digits one 0, every run of ASCII white space one space, trimmed."""
    s = sentence[:READ_BYTES].lower()
    s = re.sub(rb"[0-9]+", b"0", s)
    return re.sub(rb"[ \t\n\v\f\r]+", b" ", s).strip(b" ")


_known = {}


def hash_name(name):
    """FNV-1a, 64 bits, then the finaliser of splitmix64."""
    h = _known.get(name)
    if h is None:
        h = 0xCBF29CE484222325
        for c in name:
            h = ((h ^ c) * 0x100000001B3) & MASK
        x = (h + 0x9E3779B97F4A7C15) & MASK
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
        _known[name] = h = x ^ (x >> 31)
    return h


def grams(items, n, glue):
    return {glue.join(items[i : i + n]) for i in range(len(items) - n + 1)}


def own_names(norm, words):
    """Of the sentence itself: 1 to 3 words, 3 to 5 characters, how it begins and ends."""
    names = {b"w" + g for g in grams(words, 1, b" ")}
    names |= {b"b" + g for g in grams(words, 2, b" ")}
    names |= {b"t" + g for g in grams(words, 3, b" ")}
    padded = b" " + norm + b" "
    for n in (3, 4, 5):
        names |= {b"c" + padded[i : i + n] for i in range(len(padded) - n + 1)}
    for n in (1, 2, 3):
        names.add(b"ef%d" % n + b" ".join(words[:n]))
    names.add(b"el" + (words[-1] if words else b""))
    return names


def neighbour_names(offset, words):
    """Of the sentence `offset` places away; words None: there is none."""
    mark = {-2: b"0", -1: b"1", 1: b"2", 2: b"3"}[offset]
    if words is None:
        return {b"En" + mark}
    names = {b"W" + mark + g for g in grams(words, 1, b" ")}
    names |= {b"B" + mark + g for g in grams(words, 2, b" ")}
    names.add(b"Ef" + mark + b" ".join(words[:2]))
    names.add(b"El" + mark + (words[-1] if words else b""))
    return names


def step(x, edges):
    return sum(x >= e for e in edges)


def place_names(i, n, sentence, words, seen_numbers, seen_trigrams):
    """Place in the trace, length, digits, and how much of it was said before."""
    s = sentence[:READ_BYTES]
    numbers = set(NUMBER.findall(s))
    tri = grams(words, 3, b" ")
    n_digit = sum(48 <= c <= 57 for c in s)
    n_letter = sum(97 <= c <= 122 for c in s.lower())
    names = {
        b"p0",
        b"pa%d" % (10 * i // n),
        b"pb%d" % min(i, 8),
        b"pc%d" % min(n - 1 - i, 8),
        b"pd%d" % step(len(words), (3, 5, 8, 12, 17, 24, 34, 50)),
        b"pe%d" % (9 * n_digit // max(1, len(s))),
        b"pf%d" % (8 * n_letter // max(1, len(s))),
        b"pg%d" % min(3, s.count(b"=")),
        b"ph%d" % (4 * len(numbers & seen_numbers) // len(numbers) if numbers else 9),
        b"pi%d" % (4 * len(tri & seen_trigrams) // len(tri) if tri else 9),
    }
    seen_numbers |= numbers
    seen_trigrams |= tri
    return names


def names_of_trace(sentences):
    """A set of names for each of a trace's sentences (bytes)."""
    norms = [normalise(s) for s in sentences]
    words = [WORD.findall(s) for s in norms]
    seen_numbers, seen_trigrams, out = set(), set(), []
    n = len(sentences)
    for i in range(n):
        names = own_names(norms[i], words[i])
        for o in (-2, -1, 1, 2):
            names |= neighbour_names(o, words[i + o] if 0 <= i + o < n else None)
        names |= place_names(i, n, sentences[i], words[i], seen_numbers, seen_trigrams)
        out.append(names)
    return out


def values_of_trace(sentences, kinds="".join(VALUE)):
    """For each sentence {key: value} of the names of these kinds; a key is the high half of a name's hash."""
    return [
        {hash_name(x) >> 32: VALUE[chr(x[0])] for x in sorted(names) if chr(x[0]) in kinds}
        for names in names_of_trace(sentences)
    ]


def matrix(values, keys):
    """[n_sentence, n_key] CSR of values_of_trace over these rising keys; others are left out."""
    place = {k: i for i, k in enumerate(keys)}
    triples = [(i, place[k], v) for i, row in enumerate(values) for k, v in row.items() if k in place]
    rows, cols, data = zip(*triples) if triples else ((), (), ())
    return scipy.sparse.csr_matrix((data, (rows, cols)), shape=(len(values), len(keys)), dtype=np.float64)
