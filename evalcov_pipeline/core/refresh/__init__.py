"""A refresh: how many new cases go where, and which texts and sessions become them."""
