# ruff: noqa: E501  (a template reads best on one line)
"""Intents that come and go: a summer that ends, and features launched in the fifth week."""

from evalcov_pipeline.simulator.intents import intent

SEASONS = (
    intent(
        "pool_care",
        "season",
        11.0,
        asks="""
        how much chlorine do i put in [my|the] [inflatable|garden|] pool
        [my|the] pool water is [green|cloudy|full of algae]
        the pool water [turned green|got cloudy] [after the rain|{past}|in this heat], what helps
        how often do i [change|clean] the [pool filter|filter of the pool pump]
        the pump of my [inflatable|garden|] pool [is loud|leaks|doesn't suck in water]
        how do i [close|empty|store] the pool [for the winter|at the end of summer|]
        there's a [hole|leak] in my inflatable pool, how do i patch it
        is it safe to swim after adding chlorine [tablets|]
        pool [chlorine|algae|filter|water cloudy]
        """,
        answers="""
        One chlorine tablet per five cubic metres a week is enough; swim after two hours.
        Green water means algae: shock the pool in the evening and let the pump run all night.
        """,
        follows="""
        and for a [smaller|bigger] pool
        how long does the water stay clean
        """,
        topic="pool",
        trend="fading",
        difficulty=0.1,
    ),
    intent(
        "festival_raffle",
        "season",
        9.0,
        asks="""
        how do i enter the [summer|] festival [ticket|] raffle
        when are the [winners|winning names] of the festival raffle drawn
        did i win [the festival tickets|in the festival raffle|in the summer raffle]
        can i [give|pass on] my festival tickets to my {relation}
        which bands play at the [summer|northlight|] festival
        are [children|dogs] allowed at the [summer|northlight|] festival
        is there camping at the [summer|northlight|] festival
        my [raffle|festival raffle] entry [shows an error|isn't confirmed]
        festival [raffle|tickets|camping|line-up]
        """,
        answers="""
        We draw the festival tickets every Friday and write to the winners the same day.
        The tickets carry your name, but you can pass them on once in the app.
        """,
        follows="""
        and for two people
        until when can i enter
        """,
        topic="festival",
        trend="fading",
        difficulty=0.1,
    ),
    intent(
        "cooling",
        "season",
        9.0,
        asks="""
        my [portable air conditioner|air conditioner|tower fan] [doesn't cool the room|is too loud at night]
        water is [leaking|dripping] from the [portable|] air conditioner
        how do i [drain|clean|descale] my [portable|] air conditioner
        which [air conditioner|fan] cools [a bedroom|an attic|a hot flat] [in a heatwave|at night|]
        how many [btu|watts] does an air conditioner need for {n}0 square metres
        how do i seal the window for the air conditioner hose
        the air conditioner [smells|blows warm air|switches off in this heat]
        [air conditioner|tower fan] [for a hot bedroom|hose|too loud|heatwave]
        """,
        answers="""
        For a bedroom of 15 square metres the tower fan is enough; it runs at 38 dB at night.
        Empty the tank of the air conditioner every two days in this heat, and clean its filter.
        """,
        follows="""
        and for [a bigger room|the night]
        does it come with [a hose|a remote]
        """,
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
