# ruff: noqa: E501  (a template reads best on one line)
"""Smart-home devices, warranty and repair."""

from evalcov_pipeline.simulator.intents import intent

DEVICES = (
    intent(
        "device_setup",
        "devices",
        1.9,
        asks="""
        how do i [set up|install|pair] my [new|] {gadget}
        {want} [set up|pair] [the {gadget}|my {gadget}] [with the app|with alexa|]
        help me set up my [new|] {gadget}
        setup [help|guide|instructions] for the {gadget}
        the setup of my {gadget} [fails|doesn't finish]
        my {gadget} won't pair [with the app|during setup|]
        """,
        answers="""
        Hold the button on the {gadget} for five seconds until the light blinks, then add it in the app.
        Switch your phone to 2.4 GHz for the setup; the {gadget} moves to the right network by itself.
        """,
        follows="""
        the light [doesn't blink|stays red]
        and with a second phone
        """,
        topic="devices",
        then="wifi_drop warranty_claim",
        peak="evening",
        difficulty=0.17,
    ),
    intent(
        "wifi_drop",
        "devices",
        7.5,
        asks="""
        my {gadget} keeps losing [wifi|its wifi connection]
        my {gadget} [is|keeps going] offline [since {past}|again|]
        my {gadget} loses [wifi|the connection] [every night|all the time|after the update]
        why is my {gadget} [offline|losing wifi|disconnecting]
        {gadget} [offline|wifi problem|no wifi]
        i have a new router and my {gadget} is offline
        the app says my {gadget} is offline although wifi works
        """,
        answers="""
        Please restart the router and the {gadget}. If it drops again, move it to the 2.4 GHz network.
        Since the last update some units lose their connection at night. A fix comes {soon}.
        """,
        follows="""
        did that, [still offline|no change|same problem]
        is it [the router|a defect]
        could it be the [update|firmware]
        """,
        tools="get_device run_diagnostics",
        topic="devices",
        then="firmware_update warranty_claim device_setup",
        peak="night",
        trend="growing",
        difficulty=0.27,
    ),
    intent(
        "firmware_update",
        "devices",
        0.9,
        asks="""
        [how do i|{want}] update [the firmware|the software] [of|on] my {gadget}
        the [firmware|] update [to {version}|] [is stuck|fails|stops at 80 percent] on my {gadget}
        what's new in [version|firmware] {version} [for the {gadget}|]
        can i go back to [the old|an earlier] firmware [{version}|] on the {gadget}
        {gadget} [firmware|version] {version}
        """,
        answers="""
        Version {version} installs itself at night. You can start it now under Device, then Updates.
        Unplug the {gadget} for a minute and start the update again; {version} needs a stable connection.
        """,
        follows="""
        how long does [it|the update] take
        """,
        topic="devices",
        then="wifi_drop",
        peak="night",
        difficulty=0.16,
    ),
    intent(
        "warranty_claim",
        "devices",
        1.9,
        asks="""
        my {gadget} stopped working [after {n} months|], is it under warranty
        {want} [make|file] a warranty claim for my {gadget}
        how long is the warranty on [the {gadget}|my {gadget}]
        is [the battery|water damage|a broken screen] covered by the warranty
        does the warranty cover [a dead battery|my {gadget}|a strange noise]
        warranty [claim|] {gadget}
        """,
        answers="""
        Your {gadget} is covered for two years. I opened a claim; please send it in with the label that I mailed you.
        Water damage isn't covered, but a repair of the {gadget} costs {amount} at most.
        """,
        follows="""
        do i need the [receipt|box]
        will i get a [new one|loan device]
        """,
        tools="get_device create_claim",
        topic="warranty",
        then="repair_status",
        difficulty=0.16,
    ),
    intent(
        "repair_status",
        "devices",
        1.3,
        asks="""
        what's the status of [my repair|the repair of my {gadget}]
        i sent my {gadget} in for repair {past}, is it [done|repaired]
        when is my repair [finished|done|ready]
        the repair centre has had my {gadget} for {n} weeks
        repair status [{gadget}|]
        my {gadget} came back from repair and still doesn't work
        """,
        answers="""
        Your {gadget} is on the bench; the part arrives {soon} and it ships the day after.
        The repair is finished. The parcel is on its way to {city}.
        """,
        follows="""
        and what was [wrong|broken]
        does the repair cost anything
        """,
        tools="get_repair",
        then="complaint warranty_claim",
        difficulty=0.14,
    ),
    intent(
        "recycle_old",
        "devices",
        0.9,
        asks="""
        do you [take|take away|collect] [old {products}|my old {product}|old electronics] [when you deliver|for recycling|]
        where can i [recycle|dispose of|throw away] [an old {gadget}|batteries|my old {product}] [in {city}|]
        {want} [recycle|get rid of] [my old {product}|a broken {gadget}]
        is [recycling|disposal] of [the old {product}|a {gadget}] free
        """,
        answers="""
        The driver takes your old {product} along for free if you book it with the delivery.
        Every store has a box for batteries and small devices, also the one in {city}.
        """,
        follows="""
        do i have to [unplug|wipe|empty] it first
        """,
        topic="recycling",
        then="trade_in_value",
        difficulty=0.1,
    ),
)
