"""Pure rules: what may happen next, and what a history means.

Nothing here reads a clock, makes an id, does I/O or knows a framework: times, ids, calendars and
the person who acts come in with the command, so every decision can be replayed and tested by
itself.
"""
