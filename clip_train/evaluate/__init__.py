"""What a model is worth: sources of labelled and captioned images, zero-shot classification, retrieval."""
