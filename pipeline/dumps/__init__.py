"""What build-vocab reads, downloaded: a wiki's dump and page views (`get_dump`), WordNet (`wordnet`)."""
