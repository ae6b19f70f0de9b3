"""The link interface, its real engine (Zenoh over QUIC) and its watchdog. Knows neither records nor blobs."""
