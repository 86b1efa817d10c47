"""Questions that the surveys ask, with the commands that answer them and an answer in our own words.

`questions/<number>_<topic>.toml` holds them; `docs/questions.md` is written from it, with what the commands print.
"""

import functools
import math
import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources

from convatlas.facts.loader import read_fields
from convatlas.facts.schema import LedgerError

_WEIGHTS = (("ask", 4.0), ("id", 3.0), ("words", 2.0), ("answer", 1.0))  # what a hit in each part of a question counts
_STOP = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be by do does did for from how i in is it its of on or our than that the their them there "
        "these this to was were what when where which who why will with would you your can could much many have has",
    )
)
_STEM = 6  # letters of a word that have to agree: "pooling" finds "pool", "receptive" finds "receptiv..."


@dataclass(frozen=True)
class Question:
    """One question, its answer, and the commands that show it."""

    id: str
    ask: str
    asked: tuple[str, ...]  # "survey: section (what it is there)"
    run: tuple[str, ...]  # commands without `convatlas`
    answer: str
    words: str = ""  # more words by which it is found
    keep: tuple[str, ...] = ()  # for each command the lines that the page shows: "", "1-12" or a regular expression
    files: Mapping[str, str] = field(default_factory=dict)  # that the commands read, by name


@dataclass(frozen=True)
class Topic:
    """A chapter of questions."""

    title: str
    questions: tuple[Question, ...]


def parse_topic(name: str, text: str) -> Topic:
    """A chapter from its file.

    Raises:
        LedgerError: the text is not TOML or breaks the schema.
    """
    where = f"facts/questions/{name}"
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LedgerError(f"{where}: {error}") from None
    rows = table.pop("questions", [])
    fields = read_fields(Topic, {**table, "questions": []}, where)
    questions = [_question(row, f"{where}: question {number}") for number, row in enumerate(rows, start=1)]
    for question in questions:
        if question.keep and len(question.keep) != len(question.run):
            raise LedgerError(f"{where}: {question.id} has {len(question.keep)} keep for {len(question.run)} run")
    return Topic(**{**fields, "questions": tuple(questions)})


def _question(row: object, where: str) -> Question:
    fields = read_fields(Question, row, where)
    return Question(**{**fields, "files": dict(fields.get("files", {}))})


@functools.cache
def topics_of_questions() -> tuple[Topic, ...]:
    """All chapters, in their order.

    >>> topics_of_questions()[0].questions[0].id
    'convolution-by-hand'
    """
    folder = resources.files("convatlas.facts") / "questions"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)
    topics = tuple(parse_topic(file.name, file.read_text(encoding="utf-8")) for file in files)
    ids = Counter(question.id for topic in topics for question in topic.questions)
    if twice := [name for name, count in ids.items() if count > 1]:
        raise LedgerError(f"facts/questions: the id {twice[0]!r} stands twice; expected once")
    return topics


def find_questions(words: str) -> tuple[Question, ...]:
    """Questions that have these words, the best first; rare words count more.

    >>> [question.id for question in find_questions("why 1x1 convolutions")][0]
    'why-1x1'
    """
    questions = [question for topic in topics_of_questions() for question in topic.questions]
    wanted = _stems(words)
    parts = [[(weight, set(_stems(getattr(question, part)))) for part, weight in _WEIGHTS] for question in questions]
    scores = []
    for question, weighted in zip(questions, parts, strict=True):
        score = 0.0
        for stem in wanted:
            having = sum(any(stem in stems for _, stems in other) for other in parts)
            hit = max((weight for weight, stems in weighted if stem in stems), default=0.0)
            score += hit * math.log(1 + len(questions) / having) if having else 0.0
        scores.append((score, question))
    ranked = sorted((pair for pair in scores if pair[0] > 0), key=lambda pair: -pair[0])
    exact = [question for question in questions if question.id == words.strip()]
    return tuple(exact + [question for score, question in ranked if question not in exact and score > ranked[0][0] / 4])


def _stems(text: str) -> tuple[str, ...]:
    plain = re.sub(r"(?<=\d)\s*[x\u00d7*]\s*(?=\d)", "x", text.casefold())  # "3 x 3" is "3x3"
    words = re.findall(r"[a-z0-9^.]+", plain.replace("-", " ").replace("convolutional", "convolution"))
    return tuple(dict.fromkeys(_stem(word.strip(".")) for word in words if word not in _STOP))


def _stem(word: str) -> str:
    if any(map(str.isdigit, word)):
        return word
    for ending in ("ings", "ing", "ies", "ied", "es", "ed", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word.removesuffix(ending)
            break
    return word[:_STEM]
