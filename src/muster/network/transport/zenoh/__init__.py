"""The link interface over Eclipse Zenoh (QUIC, plain peer mode). Knows neither records nor blobs."""
