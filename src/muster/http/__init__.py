"""What every HTTP server of Muster shares: addresses and ports, who is let in, the server itself."""
