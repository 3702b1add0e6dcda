"""From a source of questions and answers to the splits that the other stages read."""
