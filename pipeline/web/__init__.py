"""The web as its standards have it, for whoever reads pages or fetches files: addresses, bodies, opt-outs, archives."""
