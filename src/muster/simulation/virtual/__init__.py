"""Virtual time and the simulated network: an event loop, links, pipes. Knows no jobs and no sockets."""
