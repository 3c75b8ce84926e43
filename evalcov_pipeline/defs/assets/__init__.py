"""The assets, a module per domain: each fills the tables it is named after."""
