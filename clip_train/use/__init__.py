"""What a trained model is used for: features of images, texts and whole shards, search among them, editing."""
