"""What is done with a finished set: verified, parted, listed, cut down, sent elsewhere."""
