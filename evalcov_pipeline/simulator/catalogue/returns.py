# ruff: noqa: E501  (a template reads best on one line)
"""Returns, refunds and damage."""

from evalcov_pipeline.simulator.intents import intent

RETURNS = (
    intent(
        "return_start",
        "returns",
        4.6,
        asks="""
        {want} return [the {product}|{a_product}|something|order {order}|an item]
        {want} send [the {product}|it|an item] back
        {can} send me a return label [for order {order}|]
        the {product} [isn't what i expected|doesn't suit me|is too big], {want} return it
        [return|returning] [an item|{product}|order {order}]
        how does [a return|returning something] work
        the return label [won't print|doesn't open|never arrived]
        {want} start a return [for {a_product}|for order {order}|]
        please [arrange|start|open] a return for [the {product}|order {order}|my last order]
        """,
        answers="""
        I started the return of the {product}. The label is in your inbox; drop the parcel at any pickup point until {soon}.
        Your return for order {order} is open. Pack the {product}, stick the label on it, and a courier collects it {soon}.
        """,
        follows="""
        [do i need|what about] the original box
        [who pays|is it free] [for the return|to send it]
        can i [drop it off|bring it] at [the shop|a store] instead
        """,
        tools="search_orders get_order create_return",
        then="refund_status return_window exchange_item",
        difficulty=0.13,
    ),
    intent(
        "return_window",
        "returns",
        1.9,
        asks="""
        how [long|many days] do i have to return [something|{a_product}|an item]
        what is [your|the] return [policy|window|deadline] [for sale items|for opened items|]
        can i still return [something|the {product}] after [{n} weeks|30 days|two months]
        is it too late to return [order {order}|something from {month}|the {product}]
        are [sale items|opened boxes|gifts|{products}] returnable
        return [policy|deadline|period]
        """,
        answers="""
        You have 30 days from delivery, 60 as a club member. Opened items are fine as long as they are complete.
        Items from {month} are past the 30 days. If the {product} is faulty, the warranty covers it.
        """,
        follows="""
        and if [it's|it is] [opened|a gift|on sale]
        does the [30 days|time] [start|count] from [the order|delivery]
        """,
        topic="returns",
        then="return_start",
        difficulty=0.1,
    ),
    intent(
        "refund_status",
        "returns",
        4.4,
        asks="""
        where is my refund [of {amount}|for order {order}|for the {product}|]
        when do i get my refund [of {amount}|for order {order}|for the {product}|]
        i'm [still|] waiting for my refund [of {amount}|for order {order}|]
        i [sent back|returned] [the {product}|everything|my order] {past} and still [no refund|haven't been refunded]
        how long does a refund take
        my refund [of {amount}|] [hasn't arrived|is missing|never came]
        [has|was] my refund [been sent|issued|processed] [yet|]
        refund [status|not received] [{order}|]
        i only got [part of my|half of my|a partial] refund, where is the rest
        """,
        answers="""
        Your refund of {amount} was issued {past}. Banks take three to five working days to show it.
        We received the {product} {past}; the refund of {amount} goes out {soon}.
        """,
        follows="""
        [why|how come] does [it|that] take so long
        can [i have|you pay] it [as store credit|to another card] instead
        [and|what about] the shipping [fee|costs]
        """,
        tools="search_orders get_refund",
        then="human_agent complaint",
        peak="weekday",
        difficulty=0.12,
    ),
    intent(
        "exchange_item",
        "returns",
        1.5,
        asks="""
        {want} exchange [the {product}|my {product}|order {order}] for [another size|a different colour|a {color} one]
        {can} exchange it for [another size|a different colour|a {color} one]
        the {product} is [too small|too large|the wrong colour], can i exchange it
        [exchange|swap] for [another size|a different colour|{color}]
        [you sent|i got] the wrong colour, please exchange it [for {color}|]
        can i exchange [an item|the {product}] [in a store|without paying again|for a bigger one]
        """,
        answers="""
        I reserved the {color} {product} for you. It ships as soon as the carrier scans your return.
        The {color} version is sold out, so I can offer a refund of {amount} or a voucher.
        """,
        follows="""
        [and|what] if the other one costs more
        how long does the [exchange|swap] take
        """,
        tools="get_order check_stock create_exchange",
        then="return_start stock_check",
        difficulty=0.17,
    ),
    intent(
        "damaged_item",
        "returns",
        2.4,
        asks="""
        [my {product}|the {product}|my order] arrived [broken|damaged|scratched|cracked|dented]
        the {product} [was damaged in transit|came smashed|is broken], [i want a new one|what now]
        i [received|got] a [damaged|broken] {product} [{past}|]
        there's a [dent|crack|chip|scratch] in [my new {product}|the {product} you sent]
        [damaged|broken] on arrival
        {want} report a [damaged|broken] [delivery|{product}|item]
        the box was crushed and [the {product}|everything inside] is [broken|damaged]
        """,
        answers="""
        I'm sorry about the damage. A new {product} leaves {soon}; you don't need to return the broken one.
        Please send a photo of the {product} and the box. Then I can refund {amount} or replace it, as you prefer.
        """,
        follows="""
        [where|how] do i send the [photo|pictures]
        i'd rather have [my money back|a refund|a new one]
        """,
        tools="get_order create_replacement",
        topic="returns",
        then="refund_status exchange_item complaint",
        difficulty=0.14,
    ),
)
