"""What an edit changes on text that has nothing to do with its task, set against the model as it is."""
