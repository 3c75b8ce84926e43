"""Names of people in a text, by cue and by a list of frequent names; no model."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from evalcov_pipeline.core.text.redaction.name_lists import (
    AFTER_PLACES,
    BEFORE_PLACES,
    GIVEN,
    NO_NAMES,
    SURNAMES,
)

Span = tuple[int, int]

MOST_WORDS = 5
"""Words of the longest name, particles included."""

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_SURE_CUE = re.compile(
    r"(?:\b(?:my|his|her|their|'s) (?:full |first |last |sur|legal |maiden )?name(?: is|'s|:)"
    r"|\bname ?[:=]|\b(?:i am|i'm) called|\b(?:under|in) the name(?: of)?"
    r"|\b(?:card|account) ?holder(?: name)?(?: is|:)?)\s+",
    re.IGNORECASE,
)
_PERSON_CUE = re.compile(
    r"\b(?:my (?:wife|husband|partner|son|daughter|mother|father|brother|sister|boss|colleague"
    r"|assistant|roommate)|(?:order|booking|reservation|account) is under|call me|signed|sincerely"
    r"|regards|cheers|ask for|belongs to|sp(?:eak|oke) (?:to|with)|talk(?:ed)? (?:to|with)"
    r"|behalf of)\b,?\s+",
    re.IGNORECASE,
)
_TITLE = re.compile(r"\b(?:[Mm](?:r|rs|s|x|iss)|[Dd]r|[Pp]rof|Herr|Frau|Señora?|Madame)\b\.?\s+")
_INTRODUCTION = re.compile(
    r"\b(?:i am|i'm|this is|contact|(?:it's|order|booking) for)\s+", re.IGNORECASE
)
_GREETING = re.compile(r"\b(?:dear|hi|hello|hey|attn|thanks|thank you)\b[,:]?\s+", re.IGNORECASE)
_CLOSING = ("", ".", ",", "!", ";", "\n")
_GENITIVE = re.compile("['’]s$")
_PARTICLES = ("al", "bin", "da", "de", "del", "della", "den", "der", "di", "dos", "du", "el", "ibn",
              "la", "le", "ten", "van", "von")  # fmt: skip
_GAP = re.compile(rf"(?:(?<=\b[^\W\d_])\.)? (?:(?:{'|'.join(_PARTICLES)}) ){{0,2}}")


def names_of_people(text: str) -> list[Span]:
    """Names of people.

    After "my name is" and the like the next words, in any case; after a title or another sure
    sign of a person ("Mr", "my wife", "Regards,") the capitalised ones; after an introduction or a
    greeting ("this is", "Dear") two capitalised words or more, one before a stop or comma, or a
    frequent given name in any case; anywhere, a frequent given name or a word before a frequent
    surname, capitalised, with the capitalised words that follow, or a frequent given name and
    surname in any case.

    Args:
        text: any text.

    Returns:
        Start and end of each, apart from each other, in order.
    """
    words = [match.span() for match in _WORD.finditer(text)]
    merged: list[Span] = []
    for start, end in sorted([*_announced(text, words), *_listed(text, words)]):
        if merged and start <= merged[-1][1]:
            start, end = merged[-1][0], max(end, merged.pop()[1])
        merged.append((start, end))
    return merged


def _announced(text: str, words: list[Span]) -> Iterator[Span]:
    at = {start: index for index, (start, _) in enumerate(words)}

    def after(cue: re.Pattern[str]) -> Iterator[tuple[int, list[Span]]]:
        for match in cue.finditer(text):
            if match.end() in at:
                yield match.start(), words[at[match.end()] :]

    for _, rest in after(_SURE_CUE):
        yield from _spelt(text, rest, any_case=True)
    for _, rest in after(_PERSON_CUE):
        yield from _spelt(text, rest, any_case=_plain(text[slice(*rest[0])]) in GIVEN)
    for title, rest in after(_TITLE):
        for _, end in _spelt(text, rest, any_case=text[title : title + 2] in ("mr", "ms")):
            yield title, end
    for _, rest in after(_INTRODUCTION):
        known = _plain(text[slice(*rest[0])]) in GIVEN
        alone = text[rest[0][1] : rest[0][1] + 1] in _CLOSING
        yield from _spelt(text, rest, least=1 if known or alone else 2, any_case=known)
    for _, rest in after(_GREETING):
        alone = text[rest[0][1] : rest[0][1] + 1] in _CLOSING
        yield from _spelt(text, rest, least=1 if alone else 2)
        if _plain(text[slice(*rest[0])]) in GIVEN:
            yield rest[0]


def _listed(text: str, words: list[Span]) -> Iterator[Span]:
    plain = [_plain(text[start:end]) for start, end in words]
    for index, name in enumerate(plain):
        if index and plain[index - 1] in BEFORE_PLACES:
            continue
        given = name in GIVEN or _is_initial(text, words[index])
        surname = index + 1 < len(plain) and plain[index + 1] in SURNAMES
        if text[words[index][0]].isupper():
            if name in GIVEN or surname:
                yield from _spelt(text, words[index:], least=1 if name in GIVEN else 2)
        elif given and surname and _GAP.fullmatch(text, words[index][1], words[index + 1][0]):
            yield words[index][0], words[index + 1][1]


def _spelt(
    text: str, words: list[Span], *, least: int = 1, any_case: bool = False
) -> Iterator[Span]:
    """The name that the first of `words` begins, if at least `least` words belong to it."""
    lower = any_case and text[words[0][0]].islower()
    n, end, is_place = 0, words[0][0], False
    for start, stop in words[:MOST_WORDS]:
        word = text[start:stop]
        if n and not _GAP.fullmatch(text, end, start):
            break
        if word in _PARTICLES:
            continue
        if n == 2 if lower else word[0].islower():
            break
        if word.lower() in NO_NAMES and not _is_initial(text, (start, stop)):
            break
        n, end = n + 1, stop - len(word) + len(_GENITIVE.sub("", word))
        is_place = is_place or word.lower() in AFTER_PLACES
    if n >= least and not is_place:
        yield words[0][0], end


def _is_initial(text: str, word: Span) -> bool:
    return word[1] - word[0] == 1 and text.startswith(". ", word[1])


def _plain(word: str) -> str:
    """Lower-cased, without accents and the genitive."""
    word = _GENITIVE.sub("", word).lower()
    if word.isascii():
        return word
    return "".join(sign for sign in unicodedata.normalize("NFD", word) if sign.isalpha())
