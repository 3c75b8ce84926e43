"""The catalogue of an invented shop, Northlight: homeware, electronics, a wallet card, a club."""

from evalcov_pipeline.simulator.catalogue.devices import DEVICES
from evalcov_pipeline.simulator.catalogue.money import MONEY
from evalcov_pipeline.simulator.catalogue.orders import ORDERS
from evalcov_pipeline.simulator.catalogue.returns import RETURNS
from evalcov_pipeline.simulator.catalogue.seasons import SEASONS
from evalcov_pipeline.simulator.catalogue.service import SERVICE
from evalcov_pipeline.simulator.catalogue.shop import SHOP
from evalcov_pipeline.simulator.intents import Intent

INTENTS: tuple[Intent, ...] = (
    *ORDERS,
    *RETURNS,
    *SHOP,
    *SERVICE,
    *MONEY,
    *DEVICES,
    *SEASONS,
)
"""Every intent."""

BY_NAME: dict[str, Intent] = {intent.name: intent for intent in INTENTS}
"""Every intent by its name."""
