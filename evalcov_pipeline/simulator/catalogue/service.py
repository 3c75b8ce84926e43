# ruff: noqa: E501  (a template reads best on one line)
"""Membership, stores and people to talk to."""

from evalcov_pipeline.simulator.intents import intent

SERVICE = (
    intent(
        "membership_cancel",
        "membership",
        2.0,
        asks="""
        {want} [cancel|end|quit] my club membership
        how do i [cancel|leave|get out of] the club [membership|]
        {can} cancel my [club|] membership
        {can} stop the renewal of my [club|] membership
        i [don't use|never use|don't need] the club, please cancel my membership
        my [club|] membership renewed although i cancelled
        cancel [club|] membership
        """,
        answers="""
        Your club membership ends on the 30th and won't renew. Until then you keep all benefits.
        I cancelled the renewal and refunded {amount}, since you haven't used the club since it renewed.
        """,
        follows="""
        [do|will] i lose my points
        and the [money|fee] for this [year|month]
        """,
        tools="get_membership cancel_membership",
        then="refund_status membership_price",
        difficulty=0.13,
    ),
    intent(
        "membership_pause",
        "membership",
        0.8,
        asks="""
        {want} [pause|freeze|suspend] my [club|] membership [for {n} months|over the winter|until {month}|]
        can i put my [club|] membership on hold [while i'm abroad|for {n} months|]
        i'm [travelling|abroad] until {month}, pause my membership
        [resume|unfreeze] my paused membership
        """,
        answers="""
        Your membership is paused until {month}. You pay nothing in between and keep your points.
        A pause lasts three months at most. I set it to start {soon}.
        """,
        follows="""
        and can i [extend|end] the pause
        """,
        tools="get_membership pause_membership",
        then="membership_cancel",
        difficulty=0.15,
    ),
    intent(
        "membership_price",
        "membership",
        1.1,
        asks="""
        how much does the club [membership|] cost
        how much is the club [membership|] [per year|a month]
        what are the benefits of the club [membership|]
        is the club [membership|] worth it
        why did the club [membership|] fee go up
        club [membership|] [price|benefits|cost]
        """,
        answers="""
        The club costs {amount} a year and gives free express delivery, 60 days for returns and early sale access.
        The family plan covers {n} people and costs {amount} more a year.
        """,
        follows="""
        and [monthly|for two people]
        is there a [trial|student price]
        """,
        topic="membership",
        then="membership_cancel shared_wallet",
        difficulty=0.1,
    ),
    intent(
        "store_hours",
        "stores",
        1.6,
        asks="""
        [what are the|tell me the] opening hours [of|in] [the {city} store|your shop in {city}]
        is [the {city} store|your shop in {city}] open [on sunday|on the bank holiday|{soon}|today|late]
        when [do you|does the {city} store] [open|close] [{soon}|on saturday|]
        [where is|do you have|is there] [your|a|the nearest] [shop|store|showroom] [in|near|around] {city}
        [store|shop] hours {city}
        is there parking at [the {city} store|your showroom in {city}]
        """,
        answers="""
        The {city} store is open Monday to Saturday from 9:30 to 20:00, and closed on Sundays.
        Our nearest showroom is in {city}, ten minutes from the main station.
        """,
        follows="""
        and {soon}
        [and|what about] [in|] {city}
        is there [parking|a cafe]
        """,
        tools="find_store",
        peak="weekend",
        difficulty=0.06,
    ),
    intent(
        "fitting_booking",
        "stores",
        1.3,
        asks="""
        {want} book [a fitter|a technician|an installer] to [install|assemble|mount] [my {product}|the {product}]
        do you offer [assembly|installation] [for {products}|in {city}|]
        how much does [installation|assembly] [of {a_product}|] cost
        the [fitter|installer] didn't come to my installation appointment
        {can} [move|change|cancel] my [installation|assembly] appointment
        [assembly|installation] [service|appointment]
        """,
        answers="""
        I booked a fitter for {soon} between 9:00 and 12:00. Assembly of the {product} costs {amount}.
        We offer installation in {city} and 30 km around it. The next free day is {soon}.
        """,
        follows="""
        do they take [the old one|the packaging] away
        and [in the afternoon|on saturday]
        """,
        tools="list_slots book_fitter",
        topic="stores",
        then="delivery_reschedule complaint",
        peak="weekday",
        difficulty=0.17,
    ),
    intent(
        "human_agent",
        "service",
        2.2,
        asks="""
        {want} [talk|speak] to [a human|a real person|someone|an agent|a manager]
        {can} [connect me with|put me through to|get me] [a human|an agent|a person|customer service]
        [agent|human|real person|representative] [please|now|]
        is there a [phone number|hotline|number i can call] [for customer service|]
        [stop|enough with] the bot, [i need a person|give me a human|connect me to someone]
        {can} [have someone call me|arrange a call back|call me back] [{soon}|about order {order}|]
        """,
        answers="""
        I'm connecting you with a colleague. The wait is about {n} minutes.
        Our team is there from 8:00 to 20:00. I arranged a call back for {soon}.
        """,
        follows="""
        how long [is the wait|do i have to wait]
        """,
        tools="handover",
        then="complaint",
        peak="weekday",
        difficulty=0.14,
    ),
    intent(
        "complaint",
        "service",
        1.3,
        asks="""
        {want} [make|file|lodge] a complaint [about your courier|about the service|about a rude employee|]
        where do i [send|file] a [formal|] complaint
        i [want|need] to complain about [how you treated me|your service|your staff|the courier]
        this is the worst service ever, i want to complain
        nobody [replied to|answered] my complaint [from {past}|]
        i am very unhappy with your service and want to make a complaint
        """,
        answers="""
        I'm sorry that this went wrong. I passed your complaint to the service team, who will answer within two days.
        Thank you for telling us. Your case about order {order} is open, and a manager in {city} looks at it {soon}.
        """,
        follows="""
        [i want|give me] [a case number|compensation|the manager's name]
        """,
        tools="create_ticket",
        then="human_agent",
        difficulty=0.2,
    ),
)
