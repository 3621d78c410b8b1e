"""The towers and the model they make: attention ► vision, text ► clip."""
