"""Models in and out of the formats of Hugging Face, open_clip and OpenAI, with equal features."""
