"""Networks: layers put together, that know of no loss."""
