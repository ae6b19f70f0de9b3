"""Training in a child process that imports torch; the daemon never does.

A request goes down through: `adapter` (blobs of the store) -> `process` (paths, one request at a time) ->
`child_process` (one child's life, begun by `started`) -> `framing` (bytes on a pipe) -> `child` (the child's
main loop) -> `session` (opens the task) -> `task_session` (a torch module) or `array_session` (any other).
Answers and progress come back through the same files, as `messages`.
"""
