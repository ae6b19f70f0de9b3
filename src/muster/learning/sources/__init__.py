"""Where batches come from: arrays, data sets, streams and loaders behind one interface (`source.Source`)."""
