"""A small shop: its catalogue, its orders, and what happens to an order once it is placed."""
