"""English phrases by which people say that an answer missed, as data.

Patterns for a regular-expression engine without look-around, matched in lower case with straight
apostrophes. They know English alone; what is written in other languages gets no sign from here.
"""

from __future__ import annotations

import polars as pl

FRICTION = {
    "not what was asked": (
        r"(?:that'?s|this is|it'?s|that is|thats) not (?:what|the (?:question|thing)) (?:i|we) "
        r"(?:asked|wanted|meant|said|am asking|need)"
        r"|not what i(?:'m| am| was)? (?:asked|asking|want(?:ed)?|mean[t]?|looking for)"
        r"|(?:didn'?t|did not|doesn'?t|does not|don'?t|not|never) (?:really )?answer(?:ed|ing)? "
        r"(?:my|the|any) question"
        r"|you(?:'re| are|r)? (?:misunderst\w+|missing the point|not (?:listening|understanding))"
        r"|(?:are|r) (?:you|u) even (?:reading|listening)|did (?:you|u) (?:even )?read"
    ),
    "said before": (
        r"(?:you|u)(?:'ve| have)? (?:just |already )+(?:said|told|mentioned|sent|asked)"
        r"|(?:i|we)(?:'ve| have)? already (?:said|told|tried|did|done|explained|gave|given|asked)"
        r"|(?:stop|keep|you keep) repeating|same (?:useless )?answer(?: again)?"
        r"|how (?:often|many times) do i (?:have|need) to"
    ),
    "wrong": (
        r"(?:that'?s|that is|this is|it'?s|you(?:'re| are)) (?:just |simply |completely |totally )?"
        r"(?:wrong|incorrect|not (?:right|correct|true))"
        r"|wrong answer|makes no sense|doesn'?t make (?:any )?sense"
    ),
    "meant otherwise": r"^\W*no\W+(?:no\W+)?(?:i|what i|we) (?:mean|meant|asked|said)\b",
    "no help": (
        r"(?:didn'?t|did not|doesn'?t|does not|isn'?t|is not|not|wasn'?t|no) (?:really |very )?"
        r"(?:help(?:ful|ing|ed)?)(?: (?:me|at all))?(?:\W*$|[.!,;])"
        r"|(?:this|that|you|it)(?:'s|'re| is| are| r) (?:so |just |totally |completely |pretty )?"
        r"(?:useless|pointless|ridiculous|a waste of time|terrible|hopeless)"
        r"|waste of (?:my )?time"
    ),
}
"""What people say about an answer that missed: kind of objection, pattern."""

ANEW = (
    r"^\W*(?:(?:ok|okay|well|so|sorry|no|hm+|um+)\W+)*"
    r"(?:i mean[t]?\b|what i (?:mean|meant|want(?:ed)?|am asking|was asking)\b|in other words"
    r"|(?:let me|i'?ll|i will) (?:try|ask|say|put|re-?phrase|explain|be clearer)\b"
    r"|to (?:put it|re-?phrase|clarify|be clear)|put (?:differently|another way)"
    r"|my question (?:is|was)|(?:once|one time|one) more\b|again\b\W)"
)
"""How people open a message that says the one before in other words."""


def spelt_plainly(text: pl.Expr) -> pl.Expr:
    """Texts as the patterns expect them: lower case, straight apostrophes, single spaces."""
    return (
        text.str.to_lowercase()
        .str.replace_all("[\u2018\u2019\u02bc`\u00b4]", "'")
        .str.replace_all(r"\s+", " ")
    )


def objection(text: pl.Expr) -> pl.Expr:
    """Phrase by which a message objects to the answer before it; null where it does not."""
    plain = spelt_plainly(text)
    return pl.coalesce(plain.str.extract(f"({pattern})", 1) for pattern in FRICTION.values())


def put_anew(text: pl.Expr) -> pl.Expr:
    """Whether a message opens by saying that it puts the one before anew."""
    return spelt_plainly(text).str.contains(ANEW)
