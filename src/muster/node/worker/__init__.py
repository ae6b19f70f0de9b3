"""Arithmetic on large models in a process of its own: the daemon neither waits for it nor holds its memory.

`process` (the daemon's side) sends a function of a module and its arguments, pickled; `child` calls it and
sends back what it gives or raises.  A store goes as its home (`storage.mapped`), staged files by their names.
"""
