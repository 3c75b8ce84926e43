"""Words that fill the slots of templates, and sentences that surround a request."""

from __future__ import annotations

PRODUCTS = (
    "oak desk", "floor lamp", "coffee machine", "blender", "wool rug", "bookcase", "office chair",
    "air fryer", "sofa bed", "mirror", "toaster", "kettle", "wardrobe", "bed frame", "side table",
    "vacuum cleaner", "dining table", "bar stool", "headset", "monitor", "keyboard", "soundbar",
    "electric blanket", "laundry basket", "bread bin", "cast iron pan", "knife set", "shoe cabinet",
    "standing desk", "espresso grinder", "space heater", "dehumidifier", "picture frame", "curtain",
    "mattress", "duvet", "nightstand", "coat rack", "tv stand", "tablet holder", "wine rack",
)  # fmt: skip
GADGETS = (
    "smart plug", "thermostat", "doorbell camera", "robot vacuum", "smart lock", "motion sensor",
    "smart speaker", "baby monitor", "air purifier", "led strip", "weather station", "smart scale",
    "garden camera", "light switch", "smoke detector", "tablet", "hub", "smart bulb",
)  # fmt: skip
CITIES = (
    "Leeds", "Bristol", "Lyon", "Hamburg", "Porto", "Austin", "Denver", "Utrecht", "Malmö", "Graz",
    "Valencia", "Kraków", "Portland", "Glasgow", "Bologna", "Ghent", "Cork", "Tampa", "Nantes",
    "Leipzig", "Toronto", "Sheffield", "Łódź", "Phoenix", "Basel", "Zürich", "Aarhus",
)  # fmt: skip
COUNTRIES = (
    "Norway", "Switzerland", "Canada", "Japan", "Portugal", "Mexico", "Iceland", "Turkey", "Poland",
    "Australia", "Brazil", "Ireland", "Croatia", "Thailand", "Morocco", "Denmark",
)  # fmt: skip
SLOTS: dict[str, tuple[str, ...]] = {
    "want": (
        "i want to", "i'd like to", "how do i", "can i", "i need to", "how can i",
        "is it possible to",
        "could you help me", "please help me", "i'm trying to", "what do i do to",
        "i would like to",
    ),
    "can": ("can you", "could you", "please", "would you", "i need you to", "are you able to"),
    "past": (
        "yesterday", "last week", "two weeks ago", "on {weekday}", "last {weekday}", "on the {nth}",
        "{n} days ago", "this morning", "earlier this week", "on {date}", "a while ago",
    ),
    "soon": (
        "tomorrow", "today", "{weekday}", "next week", "next {weekday}", "this weekend", "tonight",
    ),
    "weekday": (
        "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday",
    ),
    "nth": ("2nd", "5th", "9th", "12th", "14th", "17th", "21st", "23rd", "28th", "30th"),
    "month": (
        "January", "March", "April", "May", "June", "July", "August", "September", "October",
    ),
    "relation": (
        "sister", "wife", "husband", "son", "daughter", "mother", "dad", "flatmate", "partner",
        "brother", "boyfriend", "girlfriend", "grandmother", "cousin",
    ),
    "color": (
        "black", "white", "grey", "dark green", "navy", "beige", "walnut", "red", "light blue",
        "oak",
    ),
}  # fmt: skip
GREETINGS = (
    "hi", "hello", "hey", "hi there", "good morning", "good evening", "hello team", "hey there",
    "dear team", "quick question", "excuse me", "sorry to bother you", "hi northlight",
    "one question",
)  # fmt: skip
CLOSINGS = (
    "thanks", "thank you", "thanks in advance", "please help", "cheers", "many thanks",
    "any help is "
    "appreciated", "please let me know", "can you sort this out?", "please hurry", "it's urgent",
    "best regards", "thanks a lot 🙂", "what should i do?", "please advise", "need this {soon}",
)  # fmt: skip
CONTEXTS = (
    "i've been a customer for years",
    "i moved to {city} in {month} and everything is a bit chaotic",
    "my {relation} told me to ask here",
    "i already looked at the help pages but got lost",
    "i'm writing from my phone so excuse the typos",
    "it's a birthday present for my {relation}",
    "we have guests {soon} and i'm a bit stressed",
    "i couldn't find it anywhere on the website",
    "i tried the app first but it crashed",
    "this is the first time i use your chat",
    "i'm at work and only have a minute",
    "we're renovating the kitchen at the moment",
    "i'm leaving for {country} {soon}",
    "last time your colleague in {city} helped me right away",
    "i'm asking on behalf of my {relation}, who isn't good with computers",
    "normally everything works fine with you",
    "not sure if this is the right place to ask",
    "i have a newborn at home so i need this to be quick",
    "money is tight this month",
    "i live on the fourth floor without a lift",
    "i've had this in mind since {past}",
    "it worked fine back in {month}",
    "the weather was awful {past} so i stayed in",
    "i wrote an email {past} and got no answer",
    "we just came back from {country}",
)
FAMILY_CONTEXTS: dict[str, tuple[str, ...]] = {
    "orders": ("i placed an order with {n} items {past}", "the order number is {order}"),
    "delivery": ("the parcel is quite heavy", "order {order}, a {color} {product}"),
    "returns": ("i bought {a_product} {past}", "i still have the box of the {product}"),
    "products": ("i'm furnishing a small office", "i already own the {product2}"),
    "promotions": ("i got your newsletter {past}", "i have {a_product} in my basket"),
    "membership": ("i joined the club in {month}", "i only order twice a year"),
    "stores": ("i'd come by bus", "i live close to {city}"),
    "service": ("i've explained this {n} times already", "it's about order {order}"),
    "payments": ("the total is {amount}", "i use the same card everywhere else"),
    "account": ("i got a new phone {past}", "i haven't logged in since {month}"),
    "wallet": ("i got the wallet card in {month}", "there should be {amount} on it"),
    "devices": ("i bought the {gadget} in {month}", "it hangs in the hallway, model {model}"),
    "season": ("what a summer", "it has been {n} days above thirty degrees"),
    "trade_in": ("it's a {model}, bought in {month}", "i saw the swap banner in the app"),
    "family": ("there are {n} of us", "my {relation} is sixteen"),
}
REPHRASE_LEADS = ("i mean", "again", "let me try again", "what i meant is", "in other words", "")
FRICTION = (
    "that's not what i asked", "no, that's wrong", "you're not answering my question",
    "that didn't help at all", "this is useless", "you already said that", "wrong answer",
    "are you even reading what i write", "that makes no sense", "not helpful",
)  # fmt: skip
SHORTHAND = {
    "please": "pls", "you": "u", "are": "r", "because": "bc", "thanks": "thx", "tomorrow": "tmrw",
    "and": "&", "people": "ppl", "delivery": "dlvry", "about": "abt", "with": "w/", "order": "ordr",
    "i'm": "im", "don't": "dont", "can't": "cant", "isn't": "isnt", "doesn't": "doesnt",
}  # fmt: skip
NEIGHBOURS = {
    "a": "s", "b": "v", "c": "x", "d": "f", "e": "r", "f": "g", "g": "h", "h": "j", "i": "o",
    "j": "k",
    "k": "l", "l": "k", "m": "n", "n": "b", "o": "p", "p": "o", "q": "w", "r": "t", "s": "d",
    "t": "y",
    "u": "i", "v": "c", "w": "e", "x": "c", "y": "u", "z": "x",
}  # fmt: skip
