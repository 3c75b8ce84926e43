# ruff: noqa: E501  (a template reads best on one line)
"""Orders and delivery."""

from evalcov_pipeline.simulator.intents import intent

ORDERS = (
    intent(
        "order_status",
        "orders",
        7.5,
        asks="""
        where is my order [{order}|]
        where's [my order|order {order}] [right now|at the moment|with the {product}|]
        {want} [track|follow] my order [{order}|from {past}|]
        {can} [track|check the status of|look up] my order [{order}|of the {product}|]
        [what is|tell me|i'd like to know] the [status|current status] of my order [{order}|from {past}|]
        has my order [{order}|from {past}|] [shipped|been sent|been dispatched] [yet|]
        [track my order|order status|order tracking|status of my order] [{order}|please|]
        [any news on|any update on] my order [{order}|with the {product}|from {past}|]
        when [will|does] my order [{order}|] [arrive|come|get here]
        the tracking [link|page] of my order [shows nothing|is empty|doesn't load], where is it
        i [placed an order|ordered {a_product}] {past}, where is my order now
        """,
        answers="""
        Order {order} left our warehouse {past} and is with the carrier. It should reach you {soon}.
        I looked up {order}: your {product} is being packed and ships {soon}. You will get a tracking link by message as soon as the carrier scans it.
        Your {product} is out for delivery. The last scan was in {city} this morning.
        """,
        follows="""
        and [roughly|] what time [of day|] {soon}
        [can they|could the driver] [leave it|drop it] with a neighbour
        [which carrier|who] is [bringing|delivering] it
        is everything in the same [box|parcel|shipment]
        """,
        tools="search_orders get_order track_shipment",
        then="delivery_late delivery_reschedule order_cancel delivery_address",
        peak="morning",
        difficulty=0.08,
    ),
    intent(
        "order_cancel",
        "orders",
        4.0,
        asks="""
        {want} [cancel|call off] [my order|order {order}|the order i placed {past}|my {product} order]
        {can} cancel [my order|order {order}|the order from {past}|my last order]
        i [no longer|don't] [need|want] the {product}, please cancel my order
        [cancel|please cancel] [order {order}|my order]
        i [ordered by mistake|ordered the wrong thing|changed my mind], [please cancel the order|can i still cancel my order]
        is it too late to cancel [order {order}|my order|an order from {past}]
        my {relation} [placed|made] an order [by accident|without asking me], please cancel it
        cancelled my order {past} but it [still shows as active|is still being prepared]
        """,
        answers="""
        Done: order {order} is cancelled and {amount} goes back to your payment method within three to five days.
        Order {order} has already been handed to the carrier, so I can't stop it. You can refuse the parcel, or send it back free of charge.
        I cancelled the {product} and left the rest of your order as it is.
        """,
        follows="""
        [how long until|when do] i [get|see] the money back
        [can you|could you] cancel [only the {product}|just one of them] [instead|]
        [will i get|send me] a confirmation of [that|the cancellation]
        """,
        tools="search_orders get_order cancel_order",
        then="refund_status order_change charged_twice",
        difficulty=0.11,
    ),
    intent(
        "order_change",
        "orders",
        1.7,
        asks="""
        {want} add [another {product}|one more item|something] to [my existing order|order {order}|the order from {past}]
        {want} [change|edit|modify] [the quantity|what's] in [my order|order {order}]
        {can} [edit|modify|change] my order [{order}|] before it ships
        i [ordered|put in] [two|three|one] but need [one|two|four], can you change [the quantity|my order]
        {can} add {a_product} to my order [{order}|]
        can i still [modify|edit|change] [my order|an order i placed {past}]
        {can} take [the {product}|one item] out of my order but keep [the rest|everything else]
        """,
        answers="""
        I changed order {order}: it now holds the {color} {product}. The total is {amount}.
        Order {order} is already packed, so it can't be edited any more. I can cancel it and place it again with the change.
        """,
        follows="""
        and [what|how much] does that [make it|come to] [in total|now]
        does that [change|delay] the delivery
        """,
        tools="get_order update_order",
        then="order_cancel order_status",
        difficulty=0.16,
    ),
    intent(
        "missing_item",
        "orders",
        1.9,
        asks="""
        [my parcel|the box|my order] [came|arrived] but [the {product}|one item|something] is missing
        [part|half] of my order is missing
        there's [an item|something|a part] missing [from|in] my [parcel|order|delivery]
        [opened|unpacked] the [box|parcel] and [one item|the {product}|part of it] is missing
        the {product} is missing from [my order|order {order}|the box]
        [missing item|missing part|incomplete order] [{order}|]
        you forgot [one item|the {product}|half of it], my parcel was incomplete
        my parcel was incomplete, [the cable|one leg|the lid|one item] is missing
        """,
        answers="""
        I'm sorry that the {product} was not in the box. A replacement leaves {soon}, at no cost.
        Your order was split in two parcels: the {product} travels separately and arrives {soon}.
        """,
        follows="""
        [do i have to|should i] send [anything|the rest] back
        will [it|the rest] come [by express|before {soon}]
        """,
        tools="search_orders get_order create_replacement",
        then="refund_status complaint",
        difficulty=0.15,
    ),
    intent(
        "order_invoice",
        "orders",
        1.4,
        asks="""
        {want} [get|download|have] [an invoice|a vat invoice|the receipt|a bill] for [order {order}|the {product}|my last order]
        {can} [send|email|issue] [the invoice|a receipt|a tax receipt] for [order {order}|my purchase {past}|the {product}]
        [my accountant|my company|my employer] needs [an invoice|a proper receipt] [with the company name|with vat|for {amount}]
        invoice [for|] {order}
        the [invoice|receipt] for order {order} has the wrong [company name|address|vat number]
        where [do i find|are] [my invoices|the receipts] for {month}
        """,
        answers="""
        The invoice for order {order} over {amount} is attached to your order page, and I sent a copy to your inbox.
        I corrected the company name; the new invoice is under Orders, then Documents.
        """,
        follows="""
        and the one for {month} [too|as well]
        [can it|could it] be in [euros|dollars|my company's name]
        """,
        tools="get_order create_invoice",
        peak="weekday",
        difficulty=0.07,
    ),
    intent(
        "delivery_address",
        "delivery",
        2.6,
        asks="""
        {want} change the [delivery|shipping] address [for order {order}|of my order|]
        i [typed|gave|put] the wrong [delivery|shipping|] address [on order {order}|when i ordered|]
        {can} [send|ship|redirect] my order to [a different|another|my new] address [in {city}|instead|]
        [i'm moving|i moved|we've just moved] to {city}, please [update|change] my [delivery|shipping] address
        [address change|new address|wrong address] [for my order|for order {order}]
        my parcel is going to my old address, can that be [fixed|changed]
        there's a mistake in my [shipping|delivery] address, the [house number|postcode|street] is wrong
        """,
        answers="""
        The address of order {order} is updated; the parcel now goes to {city}.
        The carrier already has the parcel. I asked them to redirect it, which can take one more day.
        """,
        follows="""
        [is that|should that be] the default [address|one] [from now on|for all orders]
        [does|will] that [cost|delay] anything
        """,
        tools="get_order update_address",
        then="order_status delivery_reschedule",
        difficulty=0.12,
    ),
    intent(
        "delivery_late",
        "delivery",
        4.2,
        asks="""
        my [order|parcel|delivery] is late
        my [order|parcel|{product}] was due {past} and still hasn't arrived
        why is my [order|parcel|delivery] [so late|delayed|taking so long]
        order {order} is [{n} days late|overdue|delayed]
        i've been waiting [{n} days|for ages|for weeks] for my [parcel|delivery|{product}], it's late
        [late|delayed] delivery [{order}|]
        my delivery is [delayed again|already {n} days late|overdue], what is going on
        the delivery date [keeps changing|moved again|was pushed back], why the delay
        how much longer is my [order|delivery] delayed
        """,
        answers="""
        I'm sorry for the wait. Order {order} is held up at the {city} depot and will come {soon}.
        The carrier reports a delay of {n} days in your area. I refunded the shipping fee of {amount}.
        """,
        follows="""
        [can i have|do i get] [my shipping fee back|something for the wait]
        what if it [isn't|is not] here by then
        [is that|are you] sure [this time|about that date]
        """,
        tools="search_orders track_shipment",
        topic="delivery",
        then="refund_status order_cancel complaint human_agent",
        difficulty=0.17,
    ),
    intent(
        "delivery_reschedule",
        "delivery",
        2.0,
        asks="""
        {want} [reschedule|move|postpone|rebook] my delivery
        i won't be home {soon}, can you [deliver another day|change the delivery day|reschedule the delivery]
        {can} [change|move] my delivery to [saturday|the evening|next week|{weekday}|another day]
        i missed the driver {past}, can i rebook the delivery
        [different|another|later] delivery [slot|day|time] [please|]
        is an [evening|saturday|afternoon|early] delivery slot possible
        {want} choose [a different|another] delivery [slot|time|day]
        """,
        answers="""
        I moved the delivery of order {order} to {soon}, between 17:00 and 20:00.
        The carrier offers {soon} in the morning. Shall I book that slot?
        """,
        follows="""
        [and|what about] [in the evening|after work|on saturday]
        [do they|does the driver] ring [before|first]
        """,
        tools="track_shipment list_slots book_slot",
        then="order_status delivery_address",
        peak="evening",
        difficulty=0.13,
    ),
    intent(
        "not_received",
        "delivery",
        2.3,
        asks="""
        [tracking|the app|your site] says delivered but i [got nothing|never received it|don't have the parcel]
        my [parcel|order] is marked as delivered but i never [received|got] it
        order {order} shows as delivered but [it's not here|i never got it]
        my parcel was stolen from [my porch|the hallway|my doorstep]
        [someone else|a stranger] signed for my parcel and i never got it
        delivered but not received [{order}|]
        the carrier [claims|says] they delivered my parcel {past} but it's not here
        it says delivered [and|but] my neighbours don't have the parcel either
        """,
        answers="""
        I opened a search with the carrier for order {order}; they answer within two days. If the parcel isn't found, you get a replacement or {amount} back.
        The carrier left the {product} at the pickup point in {city}. You need the code from the message and an ID.
        """,
        follows="""
        [and if|what happens if] they don't find it
        i [already|have] asked [all my|the] neighbours
        """,
        tools="search_orders track_shipment open_claim",
        then="refund_status complaint human_agent",
        difficulty=0.2,
    ),
    intent(
        "delivery_fee",
        "delivery",
        1.6,
        asks="""
        how much is [delivery|shipping] [to {city}|for {a_product}|]
        how much does [delivery|shipping] cost
        what [are|is] the [delivery|shipping] [charges|cost|fee]
        is [delivery|shipping] free [over {amount}|for club members|this week|]
        why [do i have to pay|was i charged] [a|the|] shipping fee [of {amount}|]
        [minimum|how much] order for free [shipping|delivery]
        how much extra [is|does] [next day|express|same day] [delivery|shipping] cost
        [shipping|delivery] [cost|fee|price]
        """,
        answers="""
        Standard delivery is free from {amount}; below that it costs 4.95. Express adds 7.90.
        Bulky goods such as the {product} ship for a flat fee of {amount}, which includes carrying them to your room.
        """,
        follows="""
        and [for|with] express
        [does|is] that [also|the same] for [two items|{city}]
        """,
        topic="delivery",
        then="delivery_abroad",
        difficulty=0.09,
    ),
    intent(
        "delivery_abroad",
        "delivery",
        1.1,
        asks="""
        do you [ship|deliver] to {country}
        {want} [send|ship] [{a_product}|something|an order] to {country}
        [international|overseas|worldwide] shipping [to {country}|]
        do i [pay|have to pay] [customs|import duty] for [shipping|an order|a parcel] to {country}
        how long does [international|] shipping to {country} take
        can my {relation} in {country} order from you
        """,
        answers="""
        Yes, we ship to {country}. It takes {n} to ten working days and duties are shown at checkout.
        We don't deliver large items such as the {product} to {country} yet, only parcels up to 20 kg.
        """,
        follows="""
        and to {country}
        [who pays|are] the [duties|import taxes] [included|]
        """,
        topic="delivery",
        difficulty=0.12,
    ),
    intent(
        "pickup_point",
        "delivery",
        1.0,
        asks="""
        {want} [pick up|collect] my [order|parcel] [at a pickup point|from a parcel locker]
        where is the [nearest|closest] [pickup point|parcel locker] [to {city}|in {city}|]
        the [locker|pickup] code [doesn't work|never came|expired]
        how long does the [pickup point|locker] keep my parcel
        can my {relation} collect my parcel from the [pickup point|locker]
        is my parcel ready at the [pickup point|locker]
        [pickup point|parcel locker] {city}
        """,
        answers="""
        Your parcel waits at the locker in {city} until {soon}. The code is in the message that we sent you.
        Anyone with the code and their own ID can collect order {order} for you.
        """,
        follows="""
        what are [its|the] opening hours
        can it stay there until {soon}
        """,
        tools="find_pickup_points",
        topic="delivery",
        difficulty=0.1,
    ),
)
