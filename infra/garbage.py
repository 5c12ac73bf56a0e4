"""Python's search for garbage, in processes that last."""

import gc


def spare_what_is_loaded() -> None:
    """What is loaded by now stays for good: looking through all of it again and again takes some
    100 ms each time, in which nobody is served, and no event becomes visible."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
