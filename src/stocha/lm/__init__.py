"""The language model: corpus, model, training, evaluation and generation."""
