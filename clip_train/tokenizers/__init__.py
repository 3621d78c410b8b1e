"""What makes token ids of texts: CLIP's own BPE, the tokenizers of other encoders, and their files in a folder."""
