"""Evaluation sets as they lie about ► the samples that are one of their images, which are left out."""
