"""A small made-up world: an encyclopaedia, a crawl, pictures behind a web server; the same for a seed and a size."""
