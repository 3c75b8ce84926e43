"""What the tables of a home are, which version of them it holds, and the way from one to the next.

The `.sql` files here describe the tables as they are now. `migrations/` holds the steps that lead a
home from the first version to this one; its README says how to add one.
"""

from evalcov_pipeline.storage.schema.definitions import (
    Column,
    Table,
    create_tables,
    definitions,
    tables,
)
from evalcov_pipeline.storage.schema.layout import Difference, differences, layouts
from evalcov_pipeline.storage.schema.versions import (
    create,
    deviations,
    explained,
    migrate,
    migrations,
    newest,
    refuse_deviations,
    version,
)

__all__ = [
    "Column",
    "Difference",
    "Table",
    "create",
    "create_tables",
    "definitions",
    "deviations",
    "differences",
    "explained",
    "layouts",
    "migrate",
    "migrations",
    "newest",
    "refuse_deviations",
    "tables",
    "version",
]
