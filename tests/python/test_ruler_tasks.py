# SPDX-License-Identifier: MIT
"""RULER samples, each solved here from its text alone, by code that shares nothing with the generators; and the
score beside RULER's own definition. The library is called through the plug-in, which shows the whole C API."""
import collections
import ctypes
import math
import os
import pathlib
import random
import re
import string

import pytest

LIB = ctypes.CDLL(str(pathlib.Path(os.environ["ST_BUILD_DIR"]) / "libggml-sparsetrace.so"))
NOISE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
GENERATE = {"niah_single_1": 128, "niah_single_2": 128, "niah_multikey_2": 128, "niah_multikey_3": 128, "vt": 30,
            "cwe": 120, "fwe": 50}
OK, ERR_ARG, ERR_LIMIT, ERR_MODEL = 0, 1, 5, 6
COUNT = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


class Span(ctypes.Structure):
    _fields_ = [("begin", ctypes.c_int64), ("end", ctypes.c_int64)]


class Sample(ctypes.Structure):
    _fields_ = [("task", ctypes.c_char * 64), *((n, ctypes.c_int64) for n in (
        "index", "max_tok", "length", "n_generate", "template_tok")), ("input", ctypes.c_char_p),
        ("answer_prefix", ctypes.c_char_p), ("output", ctypes.POINTER(ctypes.c_char_p)), ("n_output", ctypes.c_int64),
        ("answer", ctypes.c_char_p), ("evidence", ctypes.POINTER(Span)), ("n_evidence", ctypes.c_int64),
        ("any", ctypes.c_bool)]


class Params(ctypes.Structure):
    _fields_ = [("max_tok", ctypes.c_int64), ("template_tok", ctypes.c_int64), ("seed", ctypes.c_uint64),
                ("index", ctypes.c_int64), ("count", COUNT), ("ctx", ctypes.c_void_p), ("haystack", ctypes.c_char_p),
                ("word", ctypes.POINTER(ctypes.c_char_p)), ("n_word", ctypes.c_int64)]


class Error(ctypes.Structure):
    _fields_ = [("status", ctypes.c_int), ("position", ctypes.c_int64), ("message", ctypes.c_char * 480)]


LIB.st_task_name.restype = ctypes.c_char_p
LIB.st_score_all.restype = LIB.st_score_part.restype = ctypes.c_double
LIB.st_task_sample_free.argtypes = [ctypes.c_void_p]
TASKS = [LIB.st_task_name(i).decode() for i in range(7)]


def tokens(text):
    """A tokenizer good enough to count by: words, digits and marks."""
    return len(re.findall(r"[a-zA-Z]+|\d|[^\sa-zA-Z\d]", text))


class Made:
    """A sample in Python's own words."""

    def __init__(self, s):
        raw = s.input
        self.index, self.max_tok, self.length = s.index, s.max_tok, s.length
        self.input, self.prefix, self.answer = raw.decode(), s.answer_prefix.decode(), s.answer.decode()
        self.outputs = [s.output[i].decode() for i in range(s.n_output)]
        self.evidence = [raw[s.evidence[i].begin:s.evidence[i].end].decode() for i in range(s.n_evidence)]
        self.places = [s.evidence[i].begin for i in range(s.n_evidence)]
        self.n_generate = s.n_generate


def make(task, max_tok, seed=42, index=0, template_tok=0, haystack=None, words=None, count=tokens, status=OK):
    """The sample, or the message if `status` is an error."""
    def counted(_, text, n):
        return count(ctypes.string_at(text, n).decode())
    p = Params(max_tok=max_tok, template_tok=template_tok, seed=seed, index=index, count=COUNT(counted))
    if haystack is not None:
        p.haystack = haystack.encode()
    if words is not None:
        p.word = (ctypes.c_char_p * len(words))(*(w.encode() for w in words))
        p.n_word = len(words)
    sample, err = ctypes.POINTER(Sample)(), Error()
    got = LIB.st_task_make(TASKS.index(task), ctypes.byref(p), ctypes.byref(sample), ctypes.byref(err))
    assert got == status, err.message
    if got != OK:
        assert not sample and err.status == got
        return err.message.decode()
    made = Made(sample.contents)
    LIB.st_task_sample_free(ctypes.cast(sample, ctypes.c_void_p))
    return made


ESSAY = " ".join(f"Sentence number {i} says nothing of interest, does it{'?' if i % 7 == 0 else '.'}"
                 for i in range(400))
CASES = [(t, n, i) for t in TASKS for n in (1024, 2048, 4096, 8192) for i in (0, 1, 2)]


@pytest.mark.parametrize("task,n,index", CASES)
def test_every_sample(task, n, index):
    s = make(task, n, index=index, haystack=ESSAY)
    text = s.input + s.prefix
    assert s.length == tokens(text) + GENERATE[task] <= n and s.n_generate == GENERATE[task]
    assert s.length > 0.93 * n, "not nearly as long as fits"
    assert s.max_tok == n and s.index == index
    body = s.input
    if task == "vt":
        body = s.input[s.input.rindex("Memorize and track"):]
    elif task == "cwe":
        body = s.input[s.input.rindex("Below is a numbered"):]
    assert all(o in body for o in s.outputs) and len(set(s.outputs)) == len(s.outputs)
    assert all(o in s.answer for o in s.outputs) and s.answer.startswith(" ")
    again = make(task, n, index=index, haystack=ESSAY)
    assert again.__dict__ == s.__dict__, "the same seed gives another sample"
    for other in (make(task, n, index=index + 10, haystack=ESSAY), make(task, n, seed=7, index=index, haystack=ESSAY)):
        assert other.outputs != s.outputs and other.input != s.input


@pytest.mark.parametrize("task", ["niah_single_1", "niah_single_2", "niah_multikey_2", "niah_multikey_3"])
@pytest.mark.parametrize("index", range(4))
def test_needle_solved(task, index):
    s = make(task, 3000, index=index, haystack=ESSAY)
    value = {"niah_multikey_3": UUID}.get(task, r"[1-9]\d{6}")
    key = {"niah_multikey_3": UUID}.get(task, r"[a-z]+-[a-z]+")
    what = "uuid" if task == "niah_multikey_3" else "number"
    head = (f"A special magic {what} is hidden within the following text. Make sure to memorize it. "
            f"I will quiz you about the {what} afterwards.\n")
    assert s.input.startswith(head)
    context, question = s.input[len(head):].rsplit("\n", 1)
    asked = re.fullmatch(rf"What is the special magic {what} for ({key}) mentioned in the provided text\?", question)[1]
    assert s.prefix == f" The special magic {what} for {asked} mentioned in the provided text is"
    found = re.findall(rf"One of the special magic {what}s for ({key}) is: ({value})\.", context)
    keys = [k for k, _ in found]
    assert len(set(keys)) == len(keys), "a key comes twice"
    assert [v for k, v in found if k == asked] == s.outputs and s.answer == " " + s.outputs[0]
    assert s.evidence == [f"One of the special magic {what}s for {asked} is: {s.outputs[0]}."]
    rest = context.split("\n")
    if task == "niah_single_1":
        assert len(found) == 1 and sorted(set(rest)) == sorted({NOISE, s.evidence[0]})
    elif task == "niah_single_2":
        words = context.replace(s.evidence[0], "").split()
        assert words == (ESSAY.split() * 9)[:len(words)], "the text is not the user's"
    else:
        assert len(found) == len(rest), "a line is no needle"


def test_needles_stand_everywhere():
    """Places are even over the lines, and over 40 steps of depth in a text."""
    lines = [make("niah_single_1", 1024, index=i) for i in range(60)]
    depth = [s.input[:s.places[0]].count("\n") / s.input.count("\n") for s in lines]
    assert min(depth) < 0.15 and max(depth) > 0.8 and 0.3 < sum(depth) / 60 < 0.7
    steps = {round(100 * i / 39) for i in range(40)}
    for i in range(40):
        s = make("niah_single_2", 2048, index=i, haystack=ESSAY)
        before = s.input[:s.places[0]].split("afterwards.\n")[1]
        whole = s.input.split("afterwards.\n")[1].rsplit("\n", 1)[0].replace(s.evidence[0], "")
        def count(text):
            return len(re.findall(r"[.?]", text))
        n = count(whole) + (not whole.rstrip().endswith((".", "?")))
        at = n if before.strip() == whole.strip() else count(before)
        assert any(n * d // 100 == at for d in steps), f"{at} of {n} sentences"


def chain(text):
    """Variables that hold the first value given, in order, by following the lines."""
    given = dict(re.findall(r"VAR ([A-Z]+) = (\S+)", text.replace("= VAR ", "= ")))
    first = next(v for v, x in given.items() if x.isdigit())
    names = [first]
    while len(names) < len(given):
        names.append(next(v for v, x in given.items() if x == names[-1]))
    return given[first], names


@pytest.mark.parametrize("index", range(4))
def test_tracking_solved(index):
    s = make("vt", 2500, index=index)
    example, main = s.input.split("\n\nMemorize")
    head = " and track the chain(s) of variable assignment hidden in the following text.\n\n"
    value, names = chain(main)
    assert names == s.outputs and all(re.fullmatch("[A-Z]{5}", v) for v in names) and len(names) == 5
    assert main.startswith(head)
    assert main.endswith(f"Question: Find all variables that are assigned the value {value} in the text above.")
    assert s.prefix == (" Answer: According to the chain(s) of variable assignment in the text above, 5 variables "
                        f"are assigned the value {value}, they are: ")
    assert s.answer == "".join(" " + v for v in names)
    assert [e.rstrip() for e in s.evidence] == re.findall(r"VAR [A-Z]{5} = (?:VAR )?\w+", main), "order of the lines"
    assert all(line == NOISE or line.startswith("VAR ") for line in main[len(head):].split("\n")[:-1])
    value, names = chain(example)
    assert all(re.fullmatch("[A-Z]{3}", v) for v in names) and example.endswith(f"they are:  {' '.join(names)}")
    assert tokens(example) <= 500 + 5


@pytest.mark.parametrize("n,often,seldom,example", [(2048, 6, 1, (20, 3, 1)), (4096, 30, 3, (40, 10, 3))])
def test_common_words_solved(n, often, seldom, example):
    s = make("cwe", n)
    first, main = s.input.split("\nBelow is")
    def listed(text):
        items = re.findall(r"(\d+)\. ([a-z]+)", text.split("\n")[1])
        assert [int(i) for i, _ in items] == list(range(1, len(items) + 1))
        return collections.Counter(w for _, w in items)
    counts = listed(main)
    assert [w for w, c in counts.items() if c == often].__len__() == 10
    assert {w for w, c in counts.items() if c == often} == set(s.outputs)
    assert {c for w, c in counts.items() if w not in s.outputs} == {seldom}
    assert main.endswith("\nQuestion: What are the 10 most common words in the above list?")
    assert s.answer == "".join(f" {i + 1}. {w}" for i, w in enumerate(s.outputs))
    counts = listed(first)
    common = [w for w, c in counts.items() if c == example[1]]
    assert len(counts) == example[0] and len(common) == 10 and set(counts.values()) == set(example[1:])
    shown = re.findall(r"\d+\. ([a-z]+)", first.split("in the list are:")[1])
    assert sorted(shown) == sorted(common)
    assert s.prefix == " Answer: The top 10 words that appear most often in the list are:"


@pytest.mark.parametrize("n", [1024, 4096])
def test_coded_words_solved(n):
    s = make("fwe", n)
    head = ("Read the following coded text and track the frequency of each coded word. Find the three most "
            "frequently appeared coded words. ")
    assert s.input.startswith(head)
    words = s.input[len(head):].split("\nQuestion:")[0].split(" ")
    counts = collections.Counter(words)
    ranked = sorted(counts.values(), reverse=True)
    assert counts["..."] == ranked[0]
    vocab = (n - 50) // 50
    size = next(x for x in range(len(words), 4 * len(words))
                if [c for k in range(1, vocab + 1) if (c := int(x / k ** 2 / (math.pi ** 2 / 6)))] == ranked)
    assert size > 0
    top = [w for w, _ in counts.most_common(4)[1:]]
    assert top == s.outputs and all(re.fullmatch("[a-z]{6}", w) for w in top) and s.answer == " " + ", ".join(top)


def test_template_tokens_count():
    assert make("niah_single_1", 2048, template_tok=500).length <= 2048 - 500


def test_own_words():
    words = [f"word{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(400)]
    assert set(make("cwe", 2048, words=words).outputs) <= set(words)


def test_refusals():
    assert "smallest sample of vt" in make("vt", 600, status=ERR_LIMIT)
    assert "smallest sample of cwe" in make("cwe", 300, status=ERR_LIMIT)
    assert "room for -" in make("niah_single_1", 64, status=ERR_LIMIT)
    assert "haystack" in make("niah_single_2", 2048, status=ERR_ARG)
    assert "no words" in make("niah_single_2", 2048, haystack=" \n ", status=ERR_ARG)
    assert "more than 40 different words" in make("cwe", 4096, words=[f"w{i}" for i in range(40)], status=ERR_LIMIT)
    assert "40 or more" in make("cwe", 4096, words=["a"], status=ERR_ARG)
    assert "63" in make("cwe", 4096, words=["x" * 64] * 50, status=ERR_ARG)
    assert "cannot be counted" in make("fwe", 2048, count=lambda text: -1, status=ERR_MODEL)
    assert "max_tok is 0" in make("fwe", 0, status=ERR_ARG)


# ---- score ---------------------------------------------------------------------------------------------------------

def postprocess(text):
    """RULER's scripts/eval/evaluate.py."""
    return re.sub(r"[\x00-\x1f]", "\n", text.strip()).strip()


def string_match_all(text, refs):
    return sum(1.0 if r.lower() in text.lower() else 0.0 for r in refs) / len(refs)


def string_match_part(text, refs):
    return max(1.0 if r.lower() in text.lower() else 0.0 for r in refs)


def score(name, text, refs):
    array = (ctypes.c_char_p * len(refs))(*(r.encode() for r in refs))
    return getattr(LIB, name)(text.encode(), array, ctypes.c_int64(len(refs)))


SCORED = [
    (" 1234567.", ["1234567"]), ("", ["a"]), ("", [""]), ("abc", ["ABC", "abd"]), ("ABC", ["abc", "bc", "c", "x"]),
    ("a\x01b", ["a\nb"]), ("a\tb", ["a\tb"]), ("  a ", [" a"]), ("a\x1f", ["a\n"]), ("aab", ["ab"]), ("a", ["aa"]),
    ("über Straße", ["straße", "ber"]), ("x" * 500 + "y", ["xy", "yx"]), ("\n\n1. cat\n2. dog", ["cat", "dog", "cow"]),
]


@pytest.mark.parametrize("text,refs", SCORED)
def test_score(text, refs):
    assert score("st_score_all", text, refs) == pytest.approx(string_match_all(postprocess(text), refs))
    assert score("st_score_part", text, refs) == string_match_part(postprocess(text), refs)


def test_score_of_random_texts():
    rng = random.Random(5)
    alphabet = string.ascii_letters[:4] + string.ascii_uppercase[:4] + " \n\t.\x02"
    found = 0
    for _ in range(2000):
        text = "".join(rng.choices(alphabet, k=rng.randint(0, 30)))
        refs = ["".join(rng.choices(alphabet, k=rng.randint(1, 3))) for _ in range(rng.randint(1, 5))]
        want = string_match_all(postprocess(text), refs)
        assert score("st_score_all", text, refs) == pytest.approx(want), (text, refs)
        found += want > 0
    assert 200 < found < 1990
