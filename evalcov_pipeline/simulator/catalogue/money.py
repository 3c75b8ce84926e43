# ruff: noqa: E501  (a template reads best on one line)
"""Payments, the account, and the wallet card."""

from evalcov_pipeline.simulator.intents import intent

MONEY = (
    intent(
        "payment_declined",
        "payments",
        3.2,
        asks="""
        my [card|payment] was declined [at checkout|]
        my [card|payment|card payment] [is|was|keeps being] [declined|refused|rejected]
        why was my [payment|card] [of {amount}|] [rejected|declined|refused]
        the payment [fails|failed|doesn't go through] [at checkout|every time|again|]
        payment [failed|declined|error] [{amount}|]
        tried to pay [three times|twice|with two cards] and the payment is declined every time
        i can't pay, it says [payment declined|card declined|payment failed]
        """,
        answers="""
        Your bank asked for a confirmation that wasn't given in time. Please try again and approve the payment in your bank's app.
        The payment of {amount} was refused by the card issuer. Another card or bank transfer works too.
        """,
        follows="""
        [tried|i tried] [again|another card], same [error|thing]
        is my [basket|order] [still saved|lost now]
        """,
        tools="get_payment",
        topic="payments",
        then="pay_methods charged_twice human_agent",
        peak="evening",
        difficulty=0.16,
    ),
    intent(
        "charged_twice",
        "payments",
        2.2,
        asks="""
        i was charged [twice|two times|double] [for order {order}|for the {product}|for one order|]
        [there are|i see] two [payments|charges] [of {amount}|for the same order] on my [statement|card|account]
        you charged me [twice|two times] [{past}|]
        [double|duplicate] [charge|payment] [{order}|of {amount}|on my card]
        why was i charged [twice|double] [for the {product}|{past}|]
        you took the money [twice|two times], {want} get the duplicate charge back
        """,
        answers="""
        One of the two charges of {amount} is only a reservation; your bank releases it within three days.
        I found the duplicate payment and refunded {amount}. It shows on your card within five days.
        """,
        follows="""
        when [does|will] the [second one|reservation] [disappear|go away]
        my bank says it's [not a reservation|really booked]
        """,
        tools="search_payments get_payment refund_payment",
        then="refund_status human_agent",
        difficulty=0.18,
    ),
    intent(
        "pay_methods",
        "payments",
        1.2,
        asks="""
        which payment methods do you accept
        can i pay [with paypal|by bank transfer|by invoice|with apple pay|with amex]
        do you [accept|take] [amex|google pay|paypal|apple pay] [as payment|]
        what payment [methods|options] are there
        is [paypal|apple pay|google pay] accepted
        pay [by invoice|with paypal|with apple pay] possible
        """,
        answers="""
        We accept all common cards, PayPal, bank transfer and our wallet card.
        You can change the saved card under Account, then Payment. Payment by invoice is for club members.
        """,
        follows="""
        and [in the store|for companies]
        """,
        topic="payments",
        difficulty=0.08,
    ),
    intent(
        "instalments",
        "payments",
        7.5,
        asks="""
        {want} pay in [instalments|installments|monthly instalments]
        {want} pay for [the {product}|my order] in [instalments|monthly instalments|{n} instalments]
        {want} spread the [cost|payment] over {n} months
        do you offer [instalments|a monthly payment plan|monthly instalments] [for {products}|]
        what interest do i pay [on instalments|on a {n} month plan|if i pay monthly]
        {want} pay off my [instalment plan|remaining instalments] early
        my [instalment|monthly instalment] for {month} [failed|was too high|hasn't been taken]
        [instalment|monthly payment] plan [for the {product}|]
        why was my [instalment|payment] plan request refused
        """,
        answers="""
        You can split {amount} into {n} monthly payments without interest; a longer plan costs 7.9 % a year.
        Your plan has {n} payments left. You can pay the rest at once under Wallet, then Plans.
        """,
        follows="""
        and over {n} months
        [do you|will you] check my credit [score|]
        what if i [miss|skip] one
        """,
        tools="get_plan quote_plan",
        topic="payments",
        then="payment_declined pay_methods",
        trend="growing",
        difficulty=0.24,
    ),
    intent(
        "gift_card",
        "payments",
        1.3,
        asks="""
        [how much is left|what's the balance] on my gift card
        [my|the] gift [card|voucher] [isn't accepted|doesn't work|shows zero|can't be redeemed]
        {want} [buy|send|order] a gift card [for my {relation}|over {amount}|]
        [how|where] do i [redeem|use|enter] a gift card [for {a_product}|online|]
        gift card [balance|number invalid|{amount}]
        can i [use|combine] [two gift cards|a gift card and a card] [for one order|on the {product}]
        """,
        answers="""
        Your gift card holds {amount} and is valid for three years.
        Enter the number and the scratch code at checkout. What you don't spend stays on the card.
        """,
        follows="""
        does it expire
        and can i [top it up|get cash for it]
        """,
        tools="get_gift_card",
        difficulty=0.11,
    ),
    intent(
        "password_reset",
        "account",
        3.1,
        asks="""
        i [forgot|lost|don't remember] my password
        {want} [reset|change|recover] my password
        the password reset [email|link|mail] [never comes|doesn't arrive|has expired|doesn't work]
        i [can't|cannot] [log in|sign in|get into my account], [password is wrong|it says wrong password|tried everything]
        [password|login] [reset|forgotten|not working]
        my account is locked [after too many attempts|since {past}|], {want} [unlock it|get back in|reset it]
        [new password|the new password] [isn't accepted|doesn't work] [in the app|on the website|]
        """,
        answers="""
        I sent a reset link to the address in your account. It is valid for 30 minutes; please check the spam folder too.
        Your account is open again. Please choose a new password of at least twelve characters.
        """,
        follows="""
        [nothing came|the link is expired|still no email]
        can you [send it again|set it for me]
        """,
        tools="send_reset_link",
        topic="account",
        then="login_code change_email",
        difficulty=0.1,
    ),
    intent(
        "login_code",
        "account",
        2.0,
        asks="""
        [the|my] [login|verification|security|sms] code [never arrives|doesn't come|isn't accepted|came too late]
        i [changed|lost] my [phone|number] and [can't get the code|can't confirm my login|am locked out of two factor]
        {want} [turn off|turn on|set up|disable] two [factor|step] [login|authentication|verification]
        not [getting|receiving] the [sms|code|one time code] [when i log in|for my account|]
        [2fa|verification code|otp] [not working|new phone|lost phone]
        the [authenticator app|code] [shows the wrong code|is on my old phone], how do i [log in|sign in]
        """,
        answers="""
        I sent the code again by message. If it doesn't arrive, choose "call me" on the login page.
        To move two-step login to a new phone, please confirm your identity with the last order number and your postcode.
        """,
        follows="""
        [still|] no code [here|]
        can you send it by email instead
        """,
        tools="send_login_code",
        topic="account",
        then="password_reset human_agent",
        difficulty=0.17,
    ),
    intent(
        "change_email",
        "account",
        1.2,
        asks="""
        {want} [change|update] [the email address|my email address|my email] [in my account|]
        {want} [change|update] my [phone number|name] in my account
        i [no longer have|lost access to] my old email, {can} [update|change] it in my account
        my last name changed, how do i update [it in my account|my account details]
        [update|change] my [email address|email|account details]
        """,
        answers="""
        You can change it under Account, then Details. We send a confirmation to both addresses.
        I updated your details. Your next invoice shows the new name.
        """,
        follows="""
        do i have to confirm [it|that]
        """,
        tools="update_profile",
        then="password_reset",
        difficulty=0.1,
    ),
    intent(
        "delete_account",
        "account",
        1.0,
        asks="""
        {want} [delete|close|erase] my account
        {want} [delete|erase] my [account and all my data|personal data]
        {can} [close|delete] my account [permanently|for good|]
        {want} a copy of all my personal data
        please delete all my [data|personal data|account data]
        [delete account|gdpr deletion|close account]
        """,
        answers="""
        Your account will be deleted within 30 days. Invoices are kept for as long as the law asks.
        The export of your data will be ready {soon}; you get a link to download it.
        """,
        follows="""
        what about my [points|orders|open refund]
        """,
        tools="create_privacy_request",
        topic="account",
        difficulty=0.13,
    ),
    intent(
        "card_lost",
        "wallet",
        1.7,
        asks="""
        i [lost|can't find|misplaced] my [wallet card|card] [in {city}|{past}|]
        my [card|wallet card] was stolen [in {city}|on the train|{past}|]
        {can} block my [lost|stolen|] card [now|immediately|right away|]
        {want} get a replacement [for my lost card|card, mine was stolen]
        [block|freeze] my card, it's [stolen|lost]
        [lost|stolen] card
        """,
        answers="""
        Your card is blocked. A new one arrives within {n} working days; nothing was spent since {past}.
        The card is frozen for now. If you find it, you can unfreeze it in the app.
        """,
        follows="""
        [was|has] [anything|any money] [spent|taken] since [then|]
        how do i pay [until|while] the new one [comes|]
        """,
        tools="list_cards block_card",
        then="card_limit charged_twice",
        peak="night",
        difficulty=0.09,
    ),
    intent(
        "card_limit",
        "wallet",
        1.2,
        asks="""
        {want} [raise|increase|lower|change] my [card|daily|spending] limit [to {amount}|]
        what is [the|my] [daily|monthly|spending] limit [of|on] my [wallet|] card
        my [wallet|] card hit the limit, can you raise it
        how high is my [card|daily] limit
        [raise|increase] [card|daily] limit
        """,
        answers="""
        Your limit is {amount} a day. I raised it for seven days, as you asked.
        You can change the limit in the app under Card, then Limits; it takes effect at once.
        """,
        follows="""
        and for [cash|online payments]
        """,
        tools="list_cards set_limit",
        then="fx_fee",
        difficulty=0.12,
    ),
    intent(
        "transfer_pending",
        "wallet",
        4.5,
        asks="""
        my transfer [of {amount}|to my {relation}|] is [still pending|stuck|not there yet]
        i [sent|transferred] [{amount}|money] to my {relation} {past} and it's still pending
        why is my transfer [still|] pending
        when does my transfer [of {amount}|to my {relation}|] arrive
        my [money transfer|transfer] to my {relation} hasn't arrived
        {want} cancel a pending transfer
        transfer [pending|stuck|not arrived] [{amount}|]
        """,
        answers="""
        The transfer of {amount} is waiting for a check and will be sent {soon}.
        The money reached the other bank {past}; they book it within a working day.
        """,
        follows="""
        can [you|i] [cancel|speed up] it
        they still don't have it
        """,
        tools="list_transfers get_transfer",
        then="transfer_send human_agent",
        peak="weekday",
        trend="growing",
        difficulty=0.2,
    ),
    intent(
        "transfer_send",
        "wallet",
        1.3,
        asks="""
        {want} [send|transfer] [money|{amount}] to [a friend|another bank|someone]
        {want} top up my balance [with {amount}|]
        {want} [move|withdraw] [money|{amount}|my balance] to my bank account
        [how do i|can i] [add|load] money [to my balance|] [by card|from my bank|]
        send [money|{amount}] to [a friend|a bank account]
        """,
        answers="""
        Open Wallet, choose Send and enter {amount}. It arrives within minutes for other wallets, one day for banks.
        Top-ups by card are free up to {amount} a month.
        """,
        follows="""
        and how long does it take
        is there a [fee|limit]
        """,
        tools="quote_transfer",
        topic="wallet",
        then="transfer_pending",
        difficulty=0.12,
    ),
    intent(
        "cashback",
        "wallet",
        1.2,
        asks="""
        [where is|when do i get] my cashback [for order {order}|for {month}|of {amount}|]
        how does [the|] cashback [on the wallet card|] work
        my cashback [for the {product}|of {amount}] [wasn't credited|is missing|is too low]
        how much cashback do i [get|earn] [on {products}|for {amount}|with the wallet card]
        cashback [missing|{month}|rate]
        """,
        answers="""
        Cashback is paid on the 5th of the next month: you get {amount} for {month}.
        The wallet card gives 1 % back everywhere and 3 % in our shop.
        """,
        follows="""
        and [outside the shop|for groceries]
        """,
        tools="get_cashback",
        topic="wallet",
        then="points_balance",
        difficulty=0.12,
    ),
    intent(
        "fx_fee",
        "wallet",
        0.8,
        asks="""
        what [fee|exchange rate] do i pay abroad with the wallet card
        i was charged a foreign currency fee [in {country}|]
        what are the card fees in {country}
        [foreign currency fee|exchange rate|card fees] [abroad|in {country}]
        does the wallet card cost a fee [abroad|in {country}]
        """,
        answers="""
        Payments in other currencies cost 0.5 %; cash withdrawals in {country} cost 2.00 each.
        Always choose the local currency in {country}; the shop's own rate is worse.
        """,
        follows="""
        and for cash
        """,
        topic="wallet",
        difficulty=0.11,
    ),
)
