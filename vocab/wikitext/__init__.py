"""Wikitext ► prose: what a reader of the article sees as running text.

The order of the passes is MediaWiki's: comments and elements (`elements`), then all that nests in braces and brackets
(`nesting`, with `templates`, `links` and `variants`), then tables, switches, quotes, addresses, tags and entities
(`prose`, `quotes`).
"""
