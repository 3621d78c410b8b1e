"""The web as its standards have it: addresses, encodings, bodies, opt-outs, archives."""
