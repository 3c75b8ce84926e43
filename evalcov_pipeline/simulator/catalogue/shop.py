# ruff: noqa: E501  (a template reads best on one line)
"""Products and promotions."""

from evalcov_pipeline.simulator.intents import intent

SHOP = (
    intent(
        "stock_check",
        "products",
        3.0,
        asks="""
        is the {product} [in stock|available] [in {color}|]
        when will the {product} be back in stock
        do you [still|] have [the {product}|{products}] in stock
        is [model {model}|the {color} {product}|the {product}] [sold out|out of stock|available]
        [{product}|{model}] [in stock|sold out]
        {can} [notify me|tell me] when the {product} is back in stock
        how many {products} do you have in stock
        """,
        answers="""
        The {color} {product} is in stock and ships {soon}.
        The {product} is sold out online; the {city} store has {n} left. I can reserve one for a day.
        """,
        follows="""
        and in {color}
        [what about|and in] {city}
        can you [reserve|hold] one for me
        """,
        tools="search_products check_stock",
        then="product_advice product_specs store_hours",
        peak="evening",
        difficulty=0.09,
    ),
    intent(
        "product_specs",
        "products",
        1.5,
        asks="""
        what are the [dimensions|measurements] of the {product}
        how [wide|tall|heavy|deep] is the {product}
        what [size|width|height|weight] is the {product} [{model}|]
        will the {product} fit [in a 60 cm gap|under a low table|through a narrow door]
        {product} [dimensions|measurements|weight and size]
        i need the [exact|] [dimensions|measurements] of the {product} [{model}|]
        is the {product} [wider|taller|deeper] than [60 cm|one metre|80 cm]
        """,
        answers="""
        The {product} is 62 cm wide, 48 cm deep and weighs {n}.5 kg.
        It is made of oiled oak with a powder-coated frame. You can use it outdoors under a roof.
        """,
        follows="""
        and [how heavy|what weight] [is it|]
        does [that|it] include the [legs|packaging|cable]
        """,
        tools="search_products",
        topic="products",
        peak="evening",
        difficulty=0.11,
    ),
    intent(
        "product_compare",
        "products",
        1.2,
        asks="""
        what's the difference between the {product} and the {product2}
        which is better, the {product} or the {product2}
        [compare|please compare|can you compare] the {product} and the {product2}
        [{model}|{product}] vs [{model2}|{product2}], which one is better
        i can't decide between the {product} and the {product2}
        what's the difference between these two {products}
        """,
        answers="""
        The {product} is quieter and smaller; the {product2} costs {amount} more and lasts longer.
        Both do the job. For a small flat I would take the {product}.
        """,
        follows="""
        which [one|] is [cheaper|quieter|easier to clean]
        and which [do|would] you recommend
        """,
        tools="search_products compare_products",
        then="product_advice stock_check",
        peak="weekend",
        difficulty=0.14,
    ),
    intent(
        "product_advice",
        "products",
        2.1,
        asks="""
        {can} recommend {a_product} [for a small flat|under {amount}|for a beginner|as a gift]
        which {product} [should i buy|do you recommend|would you recommend]
        {can} recommend a [gift|present] for my {relation}
        i'm looking for a [gift|present] for my {relation}, any recommendations
        what do you recommend for [a small balcony|a small flat|a new home|people with cats]
        best {product} [under {amount}|for a small flat|to buy]
        """,
        answers="""
        For your budget I'd look at the {product} in {color}: well reviewed and easy to clean, at {amount}.
        Two good choices: the {product} if space is tight, and the {product2} if you want it to last.
        """,
        follows="""
        [anything|something] [cheaper|smaller|in {color}]
        and for [my {relation}|a bigger room]
        """,
        tools="search_products recommend",
        then="stock_check product_compare",
        peak="weekend",
        difficulty=0.16,
    ),
    intent(
        "spare_parts",
        "products",
        0.9,
        asks="""
        where can i [buy|get|order] [a spare part|spare parts] for my {product}
        do you sell [replacement|spare] parts for the {product} [{model}|]
        {want} order [a replacement part|a spare part] for my {product}
        i lost a [screw|part|leg] of my {product}, do you have spare parts
        spare parts [{product}|{model}]
        """,
        answers="""
        The part for your {product} costs {amount} and ships {soon}. I put it in your basket.
        We don't stock that part any more; the maker sells it directly under number {model}.
        """,
        follows="""
        does it fit the [older|{color}] one too
        """,
        tools="search_parts",
        topic="products",
        difficulty=0.18,
    ),
    intent(
        "promo_code",
        "promotions",
        2.2,
        asks="""
        my [promo|discount] code [{code}|] [doesn't work|is rejected|is invalid|isn't accepted]
        [how|where] do i [enter|use|apply] a [promo|discount] code
        {want} use [my|a] [promo|discount] code [{code}|at checkout|]
        [promo|discount] code [{code}|] [not working|expired|invalid]
        i forgot to [enter|use|apply] my [discount|promo] code [{code}|]
        {can} apply [the|my] [discount|promo] code [{code}|] [to my order|]
        why [is|was] my [promo|discount] code not [accepted|applied]
        """,
        answers="""
        {code} works from {amount} on and not on items that are already reduced, which is why it was refused.
        I added the discount to order {order}: you get {amount} back.
        """,
        follows="""
        [can i|could i] [combine|use] it with [another code|sale prices]
        until when is [it|the code] valid
        """,
        tools="get_promotion",
        topic="promotions",
        then="sale_terms price_match points_balance",
        trend="promotion",
        difficulty=0.15,
    ),
    intent(
        "sale_terms",
        "promotions",
        1.2,
        asks="""
        when does the [autumn|] sale [start|end|begin]
        [is|are] [the {product}|{products}] included in the [autumn|] sale
        how [long|much] is the [autumn|] sale [on|]
        will the {product} be [in|part of] the [autumn|black friday] sale
        [autumn|black friday] sale [dates|start|deals]
        do club members get early access to the [autumn|] sale
        """,
        answers="""
        The autumn sale runs for two days and takes up to 30 % off; club members get in a day early.
        The {product} is part of the sale at {amount} while stock lasts.
        """,
        follows="""
        and for [club members|{products}]
        can i return sale items
        """,
        topic="promotions",
        then="promo_code stock_check",
        trend="promotion",
        difficulty=0.12,
    ),
    intent(
        "price_match",
        "promotions",
        1.3,
        asks="""
        i [saw|found] the {product} cheaper [elsewhere|at another shop|on another site], do you price match
        do you [price match|match prices|match competitor prices]
        the price [of the {product}|] dropped [after i bought it|{past}], can i get the difference back
        price match [for the {product}|please|]
        {can} match [the|a] [lower|cheaper|competitor's] price [of another shop|]
        {product} is cheaper [elsewhere|at a competitor], will you match the price
        """,
        answers="""
        The price fell within 14 days of your purchase, so I refund the difference of {amount}.
        We match offers of shops that ship from the same country and have the {product} in stock. Please send me a link.
        """,
        follows="""
        [here is|i have] the [link|screenshot], what next
        and if the other shop is [online|abroad]
        """,
        tools="get_order check_price",
        topic="promotions",
        then="refund_status",
        trend="promotion",
        difficulty=0.17,
    ),
    intent(
        "points_balance",
        "promotions",
        1.5,
        asks="""
        how many [points|loyalty points|club points] do i have
        [my|the] [points|loyalty points] [for order {order}|from {month}] [are missing|were not added|haven't shown up]
        {want} [use|spend|redeem] my points [for a {product}|on order {order}|at checkout]
        when do my [loyalty|club|] points expire
        [check|show|tell me] my [points|loyalty] balance
        how [much|many euros] are [500|1200|2000] points worth
        """,
        answers="""
        You have 1,240 points, worth {amount}. They expire at the end of next year.
        The points for order {order} are booked 14 days after delivery, so they should appear {soon}.
        """,
        follows="""
        and how many do i get for {a_product}
        can i give [them|some] to my {relation}
        """,
        tools="get_loyalty",
        then="promo_code cashback",
        difficulty=0.09,
    ),
)
