# ruff: noqa: E501  (a template reads best on one line)
"""Intents that come and go: a summer that ends, and features launched in the fifth week."""

from evalcov_pipeline.simulator.intents import intent

SEASONS = (
    intent(
        "garden_preorder",
        "season",
        11.0,
        asks="""
        when does the garden furniture [pre-order|i reserved] ship
        {want} pre-order [garden furniture|the garden lounge|the patio set]
        is the [patio set|garden lounge|garden furniture] still available [this summer|for pre-order]
        how do i protect the [garden furniture|patio set] [from rain|over winter]
        my pre-order of the [patio set|garden bench|garden lounge] [is late|has no date]
        garden furniture [pre-order|delivery]
        """,
        answers="""
        The garden pre-orders ship in the last week of the month, by region.
        The patio set can stay outside until the first frost. A cover costs {amount}.
        """,
        follows="""
        and the [cushions|cover|table]
        can i cancel the pre-order
        """,
        tools="search_products check_stock",
        topic="garden",
        trend="fading",
        difficulty=0.1,
    ),
    intent(
        "back_to_school",
        "season",
        9.0,
        asks="""
        [is there|do you have] a student discount [on {products}|for laptops|]
        how do i [prove|verify] that i'm a student for the discount
        my student discount [was refused|isn't applied|expired]
        student discount [laptop|desk|{product}|]
        does the back to school student bundle include [a bag|the desk lamp|headphones]
        """,
        answers="""
        Students get 10 % with a school mail address; verification takes a minute.
        The back-to-school bundle holds the desk lamp, the chair and a backpack for {amount}.
        """,
        follows="""
        and for [teachers|parents]
        until when does it run
        """,
        tools="get_promotion",
        topic="promotions",
        trend="fading",
        difficulty=0.1,
    ),
    intent(
        "cooling",
        "season",
        9.0,
        asks="""
        which [fan|air conditioner] [do you recommend|is best] for [a bedroom|a hot flat|an attic room]
        my [portable air conditioner|air conditioner|fan] [doesn't cool|is too loud|leaks water] in this heat
        when are [fans|air conditioners] back in stock, it's too hot
        how do i [clean|drain|install] my [portable|] air conditioner
        is [the tower fan|the air conditioner] [loud at night|good in a heatwave]
        how much power does the [fan|air conditioner] use
        {want} buy [a fan|an air conditioner] before the heatwave
        [fan|air conditioner] [in stock|hose|heatwave delivery]
        """,
        answers="""
        For a bedroom of 15 square metres the tower fan is enough; it runs at 38 dB at night.
        Empty the tank of the air conditioner every two days in this heat, and clean its filter once a week.
        """,
        follows="""
        and for [a bigger room|the night]
        does it come with [a hose|a remote]
        """,
        tools="search_products check_stock",
        topic="cooling",
        trend="fading",
        difficulty=0.1,
    ),
    intent(
        "trade_in_value",
        "trade_in",
        5.2,
        asks="""
        how much do i get for trading in my old [{gadget}|phone|tablet|laptop]
        what is the trade-in value of my [used|old] [phone|{gadget}|tablet|laptop]
        {want} trade in my old [{gadget}|phone|laptop|tablet]
        do you accept a [cracked|scratched|broken] [phone|tablet|{gadget}|laptop] for trade-in
        trade-in [value|price|quote] [for my phone|for a tablet|]
        the trade-in [quote|offer] for my [{gadget}|phone|laptop] is too low
        how does the trade-in programme work
        """,
        answers="""
        For a working {gadget} you get up to {amount} as credit. The quote holds for 14 days.
        We take devices with scratches; a cracked screen lowers the value by about half.
        """,
        follows="""
        and if the [screen|battery] is [cracked|weak]
        do i get [cash|money] or [only|] store credit
        what about [a tablet|my old laptop|an older one]
        """,
        tools="quote_trade_in",
        topic="trade-in",
        then="trade_in_send",
        trend="arriving",
        difficulty=0.33,
    ),
    intent(
        "trade_in_send",
        "trade_in",
        3.4,
        asks="""
        how do i [send in|ship|pack] my trade-in [device|phone|]
        where is my trade-in credit
        i sent in my trade-in {past}, when do i get the credit
        my trade-in credit [of {amount}|] [hasn't arrived|is missing|is lower than the quote]
        do i have to [wipe|reset] my [{gadget}|phone|tablet] before i send in the trade-in
        the trade-in [box|label|kit] [never came|is too small|hasn't arrived]
        why was my trade-in [rejected|downgraded]
        trade-in credit [status|missing]
        """,
        answers="""
        Please reset the {gadget}, pack it in the prepaid box and drop it at any pickup point.
        Your device is being inspected; the credit of {amount} is booked {soon}.
        """,
        follows="""
        and if i [don't agree with|disagree with] the [check|new price]
        can i get the device back
        """,
        tools="get_trade_in",
        topic="trade-in",
        then="refund_status human_agent trade_in_value",
        trend="arriving",
        difficulty=0.36,
    ),
    intent(
        "shared_wallet",
        "family",
        4.4,
        asks="""
        {want} [add|invite] my {relation} to [the shared|the family|our family] wallet
        how do i [open|set up|create] a [shared|family] wallet [with my {relation}|]
        my {relation} can't [see|use] our [shared|family] wallet
        can i [limit|see] what my {relation} spends in the family wallet
        who sees the payments in a [shared|family] wallet
        {want} remove my {relation} from the [shared|family] wallet
        the invitation to the [shared|family] wallet [expired|never arrived]
        [family|shared] wallet [invite|limit|]
        """,
        answers="""
        Open Wallet, then People, and invite your {relation}. Each person gets an own limit.
        The owner sees all payments of the shared wallet; members see only their own.
        """,
        follows="""
        and how old [must|do] they [be|have to be]
        can i set a limit [of {amount}|per week]
        """,
        tools="get_wallet invite_member",
        topic="family",
        then="card_limit transfer_send",
        trend="arriving",
        difficulty=0.3,
    ),
)
