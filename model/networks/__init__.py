"""Networks and layers of the methods, independent of losses."""
