"""The page's HTTP server: routes, bodies, access rules, files. Knows no node and no tensors."""
