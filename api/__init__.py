"""Commands in, read models out, over HTTP under ``/api/v1``."""
